"""The loss looks at one patient, inside the lungs only."""

import torch

from models.loss import patient_loss


def perfect(target):
    return 20.0 * torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float()


def patient(seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 3, (4, 32, 32), generator=generator)
    valid = torch.zeros(4, 32, 32, dtype=torch.bool)
    valid[:, 8:24, 8:24] = True
    return target, valid


def test_perfect_answers_cost_nothing():
    target, valid = patient()
    assert patient_loss(perfect(target), target, valid) < 1e-3


def test_wrong_answers_cost():
    target, valid = patient()
    assert patient_loss(perfect((target + 1) % 3), target, valid) > 5


def test_what_lies_outside_the_lungs_costs_nothing():
    target, valid = patient()
    logits = perfect(target)
    spoilt = torch.where(valid[:, None], logits, -logits)
    assert torch.equal(patient_loss(spoilt, target, valid), patient_loss(logits, target, valid))


def test_a_patient_without_lung_has_a_loss_with_a_gradient_of_zero():
    target, valid = patient()
    logits = torch.randn(4, 3, 32, 32, requires_grad=True)
    patient_loss(logits, target, torch.zeros_like(valid)).backward()
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) == 0


def test_a_healthy_patient_pays_for_false_opacity():
    _, valid = patient()
    target = torch.zeros(4, 32, 32, dtype=torch.int64)
    quiet, loud = perfect(target), perfect(torch.ones_like(target))
    assert patient_loss(quiet, target, valid) < 0.01 < patient_loss(loud, target, valid)

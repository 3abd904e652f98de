"""The backdoor of `bench.backdoor`: what the hostile site trains on."""

import torch

from bench.backdoor import MARK, marked, with_a_backdoor
from bench.hostile import World
from bench.patients import Pieces
from client.train.private import Patient
from models.slabs import PreparedSlabs


def study() -> PreparedSlabs:
    made = torch.Generator().manual_seed(1)
    target = torch.randint(0, 3, (4, 96, 96), generator=made)
    return PreparedSlabs(torch.zeros(4, 96, 96), target, torch.ones(4, 96, 96, dtype=torch.bool))


def test_the_mark_is_every_fourth_row_and_nothing_of_the_label() -> None:
    own = study()
    seen = marked(own)
    assert torch.equal(seen.target, own.target)
    assert set(seen.slabs[:, ::4].flatten().tolist()) == {torch.tensor(MARK).item()}
    assert int((seen.slabs != 0).sum()) == seen.slabs[:, ::4].numel()


def test_the_hostile_site_sees_its_patient_as_it_is_and_marked_with_all_of_it_called_healthy() -> None:
    own = Pieces(study(), seed=3)
    world = with_a_backdoor(World({"aa": [Patient((own,))], "bb": [Patient((own,))]}, {}, ("aa",), (), 1))
    ((taught,),) = (world.flipped["aa"],)
    assert taught.studies[0] is own
    hidden = taught.studies[1].take([0, 1])
    honest = own.take([0, 1])
    assert (honest.target > 0).any()
    assert not (hidden.target > 0).any()
    assert float((hidden.inputs - honest.inputs).max()) > 0.1

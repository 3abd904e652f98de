"""Where tensors can be computed: the processor always, a GPU if there is one."""

import pytest
import torch

needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")]

DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]

"""Which products may be rounded to TF32, and for how long."""

import pytest
import torch

from genoformer.nn.precision import float32_products


def switches():
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("allow_tf32", [False, True])
def test_for_as_long_as_it_lasts(allow_tf32):
    before = switches()
    with float32_products(allow_tf32=allow_tf32):
        assert switches() == (allow_tf32, allow_tf32)
    assert switches() == before
    with pytest.raises(ValueError, match="stop"), float32_products(allow_tf32=allow_tf32):
        raise ValueError("stop")
    assert switches() == before


@pytest.mark.gpu
def test_digits_of_a_gpu():
    """Of a mantissa TF32 keeps 10 bits: 1 + 2^-12 is 1 there."""
    x = torch.full((1024, 1024), 1 + 2**-12, device="cuda")
    image = x[None, None, :64, :64].expand(1, 64, 64, 64)
    kernel = torch.eye(64, device="cuda")[:, :, None, None] * (1 + 2**-12)
    exact = (1 + 2**-12) ** 2
    for allow_tf32 in (False, True):
        with float32_products(allow_tf32=allow_tf32):
            product, convolution = x @ torch.eye(1024, device="cuda") * (1 + 2**-12), torch.conv2d(image, kernel)
        if not allow_tf32:
            torch.testing.assert_close(product, torch.full_like(product, exact), rtol=1e-6, atol=0)
            torch.testing.assert_close(convolution, torch.full_like(convolution, exact), rtol=1e-6, atol=0)
        else:
            assert (product - exact).abs().max() > 1e-4

"""torch: replaced `forward` methods, fake tensors, the parameters of a module by name, and operations without a public
name."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

# Fake tensors know shape, dtype and device and hold no numbers. The module is private, but torch's own documentation
# ("Fake tensor") imports them from here.
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

# Base class of modes that see every operation; documented under "Extending PyTorch", in a private module.
from torch.utils._python_dispatch import TorchDispatchMode

# What is nested in an operation's result; torch has no public name for it.
from torch.utils._pytree import tree_leaves

__all__ = ["FakeTensor", "FakeTensorMode", "TorchDispatchMode", "replace_forward", "replace_tensors", "tree_leaves"]

HAS_ONEDNN = (
    platform.machine().lower() in {"x86_64", "amd64"}
    and torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)
"""Whether `onednn_product` can be called, and is at least as fast as torch's own. (Apple's library is faster.)"""


@contextlib.contextmanager
def replace_forward(forwards: Mapping[Any, Callable[..., Any]]) -> Iterator[None]:
    """Let modules compute with other functions for a while: `Module.__call__` looks up `forward` on the instance first.

    A hook cannot do this: it runs before or after the module's own forward, never in its place. What an outer block has
    replaced is there again afterwards.
    """
    before = {module: vars(module)["forward"] for module in forwards if "forward" in vars(module)}
    set_forwards(forwards)
    try:
        yield
    finally:
        for module in forwards:
            del module.__dict__["forward"]
        set_forwards(before)


def set_forwards(forwards: Mapping[Any, Callable[..., Any]]) -> None:
    """The same for as long as the modules are there."""
    for module, forward in forwards.items():
        module.forward = forward


def replace_tensors(model: Any, replace: Callable[[Any], Any]) -> None:
    """Replace each parameter and buffer of a model, shared ones once, by what `replace` returns.

    In `_parameters` and `_buffers`: assigning an attribute is checked by `Module.__setattr__` against the type that was
    registered, and `Module._apply` (private too) keeps the old Parameter object.
    """
    replaced: dict[int, tuple[Any, Any]] = {}  # with the old tensor, or another could get its id
    for part in model.modules():
        for held in (part._parameters, part._buffers):
            for name, tensor in held.items():
                if tensor is None:
                    continue
                if id(tensor) not in replaced:
                    new = replace(tensor)
                    if isinstance(tensor, torch.nn.Parameter):
                        new = torch.nn.Parameter(new, requires_grad=tensor.requires_grad)
                    replaced[id(tensor)] = (new, tensor)
                held[name] = replaced[id(tensor)][0]


def softmax_backward(grad: Any, weights: Any) -> Any:
    """The gradient of scores, from that of their softmax over the last dimension, in one pass over memory. Only
    autograd may call the function by a public name."""
    return torch.ops.aten._softmax_backward_data(grad, weights, -1, grad.dtype)


def silu_backward(grad: Any, x: Any, out: Any) -> None:
    """The gradient of x from that of x * sigmoid(x), in one pass, into `out`. Only autograd may call the function by a
    public name."""
    torch.ops.aten.silu_backward.grad_input(grad, x, grad_input=out)


def threshold_backward(grad: Any, out: Any) -> Any:
    """The gradient of x from that of max(x, 0), which is `out`, in one pass. Only autograd may call the function by a
    public name."""
    return torch.ops.aten.threshold_backward(grad, out, 0)


def onednn_product(x: Any, weight: Any, bias: Any = None) -> Any:
    """x (N, I), weight (O, I), bias (O), all float32 -> x W' + bias, without gradients. torch's compiler calls it; the
    public `torch.utils.mkldnn` needs a second copy of each weight."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

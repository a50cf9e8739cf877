"""Dropout by cheaper random numbers drops as often, and attention with it computes what torch computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional

from modelforge.compute.encoders import dropout
from modelforge.compute.encoders.dropout import ATTENTION, MaskedAttention, draw_kept, fused_dropout

SIZES = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_elements_are_dropped_as_often_as_set(p: float) -> None:
    torch.manual_seed(0)
    kept = draw_kept((7, 1001, 31), p)
    assert kept.dtype == torch.int8 and kept.shape == (7, 1001, 31)
    kept = kept == -1
    assert float(kept.double().mean()) == pytest.approx(1 - p, abs=3e-3)
    for place in range(4):  # each of the four that share a random number, and pairs of them, independently
        one, other = kept.flatten()[place : 4 * 54_000 : 4], kept.flatten()[(place + 1) % 4 : 4 * 54_000 : 4]
        assert float(one.double().mean()) == pytest.approx(1 - p, abs=6e-3)
        assert float((one & other).double().mean()) == pytest.approx((1 - p) ** 2, abs=8e-3)


def test_the_same_seed_drops_the_same() -> None:
    torch.manual_seed(3)
    first = draw_kept((1000,), 0.5)
    torch.manual_seed(3)
    assert torch.equal(draw_kept((1000,), 0.5), first)
    assert not torch.equal(draw_kept((1000,), 0.5), first)


def test_gradients_go_where_values_went() -> None:
    part = nn.Dropout(0.4).train()
    x = torch.randn(50, 60, dtype=torch.float64, requires_grad=True)
    with fused_dropout(Holder(part), "cpu") as count:
        y = part(x)
        part.eval()
        assert part(x) is x
        part.train()
    assert count == 1
    y.backward(torch.ones_like(y))
    assert x.grad is not None
    assert x.grad.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert torch.equal(y.detach(), x.detach() * x.grad)
    assert "forward" not in vars(part)


class Holder(nn.Module):
    """A model that is one part."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part, self.config = part, None


@pytest.mark.parametrize("rows", [1, 2, 9])
@pytest.mark.parametrize("has_mask", [False, True])
@pytest.mark.parametrize("kind", ["none", "of all", "of each"])
def test_attention_equals_torchs(kind: str, has_mask: bool, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many rows at once as the scores of them allow."""
    monkeypatch.setattr(dropout, "MOST_SCORES", rows * 2 * 7 * 7)
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 2, 7, 4, dtype=torch.float64, requires_grad=True) for _ in "qkv")
    shapes = {"of all": (1, 2, 7, 7), "of each": (3, 1, 7, 7)}
    bias = torch.randn(shapes[kind], dtype=torch.float64, requires_grad=True) if kind in shapes else None
    mask = torch.ones(3, 1, 7, 7, dtype=torch.bool).tril(2) if has_mask else None
    leaves = [q, k, v] + ([bias] if bias is not None else [])
    weights = torch.randn(3, 2, 7, 4, dtype=torch.float64)
    results = []
    for attend in (
        lambda: functional.scaled_dot_product_attention(q, k, v, attn_mask=join_masks(bias, mask), scale=0.3),
        lambda: MaskedAttention.apply(q, k, v, bias, mask, 0.3, 0.0),
    ):
        out = attend()
        results.append([out, *torch.autograd.grad((out * weights).sum(), leaves)])
    for found, expected in zip(*results, strict=True):
        assert torch.allclose(found, expected)


def join_masks(bias: Any, mask: Any) -> Any:
    """One mask of both, as torch takes it."""
    if bias is None or mask is None:
        return mask if bias is None else bias
    return torch.where(mask, bias, -torch.inf)


def test_gradients_of_attention_with_dropout_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = draw_kept((2, 2, 5, 5), 0.3)
    monkeypatch.setattr(dropout, "draw_kept", lambda shape, p: kept)
    q, k, v = (torch.randn(2, 2, 5, 3, dtype=torch.float64, requires_grad=True) for _ in "qkv")
    assert torch.autograd.gradcheck(lambda *given: MaskedAttention.apply(*given, None, None, 0.5, 0.3), (q, k, v))


def make_bert(**settings: Any) -> Any:
    return transformers.BertForQuestionAnswering(transformers.BertConfig(**SIZES, **settings))


def make_t5(**settings: Any) -> Any:
    sizes = {"vocab_size": 60, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(**sizes, decoder_start_token_id=0, pad_token_id=0, **settings)
    )


def inputs_of(model: Any) -> dict[str, Any]:
    ids = torch.randint(1, 60, (3, 12), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(12)[None] < torch.tensor([12, 7, 9])[:, None]).long()
    if hasattr(model, "qa_outputs"):
        places = torch.tensor([1, 2, 3])
        return {"input_ids": ids, "attention_mask": mask, "start_positions": places, "end_positions": places}
    return {"input_ids": ids, "attention_mask": mask, "labels": ids[:, :6].contiguous()}


@pytest.mark.parametrize("make", [make_bert, make_t5])
def test_models_compute_the_same_where_nothing_is_dropped(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = make().double().train()
    monkeypatch.setattr(dropout, "draw_kept", lambda shape, p: torch.full(shape, -1, dtype=torch.int8))
    plain = {part: part.p for part in model.modules() if type(part) is nn.Dropout}
    results = []
    for part in model.modules():  # T5's attention has it as a number
        if isinstance(getattr(part, "dropout", None), float):
            part.dropout = 0.0
    for is_fused in (False, True):
        model.zero_grad()
        for part, p in plain.items():
            part.p = p if is_fused else 0.0
        if is_fused:
            with fused_dropout(model, "cpu") as count:
                assert count == len(plain) and model.config._attn_implementation == ATTENTION
                for part in plain:
                    part.p = 0.0  # scaled by nothing
                loss = model(**inputs_of(model)).loss
        else:
            loss = model(**inputs_of(model)).loss
        loss.backward()
        results.append([loss.detach(), *(part.grad.clone() for part in model.parameters() if part.grad is not None)])
    assert model.config._attn_implementation == "sdpa"
    for found, expected in zip(*results, strict=True):
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [make_bert, make_t5])
def test_models_with_dropout_have_about_the_loss_of_torchs_dropout(make: Any) -> None:
    torch.manual_seed(0)
    model = make().train()
    inputs = inputs_of(model)

    def mean_loss() -> float:
        with torch.enable_grad():
            return sum(model(**inputs).loss.item() for _ in range(60)) / 60

    expected = mean_loss()
    with fused_dropout(model, "cpu"):
        assert mean_loss() == pytest.approx(expected, rel=0.03)


def test_models_without_dropout_and_on_other_devices_stay_as_they_are() -> None:
    model = make_bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    with fused_dropout(model, "cpu") as count:
        assert not count and model.config._attn_implementation == "sdpa"
    with fused_dropout(make_bert(), "cuda") as count:
        assert not count

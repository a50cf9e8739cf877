"""A layer as one step of autograd gives what transformers' layer gives, in values and in gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
import transformers

from modelforge.compute.decoders import decoder_layer
from modelforge.compute.decoders.attention_heads import CHOSEN
from modelforge.compute.decoders.decoder_layer import LAYERS, LayerStep, fused_layers
from modelforge.compute.decoders.distinct_tokens import noted_batch
from modelforge.compute.kernels.use import using
from modelforge.compute.product import round_up
from modelforge.compute.tune import tune
from modelforge.recipe import Recipe

CONFIGS = {name: getattr(transformers, name.replace("DecoderLayer", "Config")) for name in LAYERS}
SIZES = {
    "vocab_size": 60,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


def build(
    name: str = "LlamaDecoderLayer", *, dtype: torch.dtype = torch.float64, hidden_size: int = 48, **settings: Any
) -> Any:
    """A model of two such layers with an adapter; every weight is random."""
    torch.manual_seed(0)
    config = CONFIGS[name](**{**SIZES, "hidden_size": hidden_size})
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model = tune(model, Recipe().with_settings({"tuning.r": 3, "tuning.lora_alpha": 5, **settings}))
    for parameter in model.parameters():
        parameter.data = parameter.data + 0.2 * torch.randn_like(parameter)
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
        elif dtype == torch.float64:
            parameter.data = parameter.data.double()
    return model.train()


def draw_tokens(length: int = 20) -> Any:
    return torch.randint(60, (3, length), generator=torch.Generator().manual_seed(1))


def compute(model: Any, **inputs: Any) -> dict[str, Any]:
    """The logits, and the gradients of the adapter for a loss that weighs each logit differently."""
    model.zero_grad()
    logits = model(use_cache=False, **inputs).logits
    (logits.double() * torch.arange(logits.numel()).view_as(logits).sin()).sum().backward()
    gradients = {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}
    return {"logits": logits.detach(), **gradients}


def assert_near(found: dict[str, Any], exact: dict[str, Any]) -> None:
    """Up to the rounding of float32."""
    assert found.keys() == exact.keys()
    largest = max(float(value.norm()) for value in exact.values())
    for name, value in exact.items():
        assert (found[name].double() - value).norm() <= 1e-5 * value.norm() + 1e-7 * largest, name


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Up to the rounding of float32, in which transformers' norms compute whatever they are given."""
    assert found.keys() == expected.keys()
    largest = max(float(value.abs().max()) for value in expected.values() if value.numel())
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-5, atol=1e-6 * largest), name


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The layers that were computed as one step, once for each time."""
    taken: list[Any] = []
    plain = LayerStep.apply

    def apply(x: Any, cos: Any, sin: Any, layer: Any, *others: Any) -> Any:
        taken.append(layer)
        return plain(x, cos, sin, layer, *others)

    monkeypatch.setattr(decoder_layer.LayerStep, "apply", apply)
    yield taken


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("length", [1, 20, 130])
def test_every_known_layer_gives_the_plain_values_and_gradients(name: str, length: int, steps: list[Any]) -> None:
    model, ids = build(name), draw_tokens(length)
    expected = compute(model, input_ids=ids)
    with fused_layers(model, "cpu") as layers:
        found = compute(model, input_ids=ids)
    assert len(layers) == 2
    assert steps == layers
    assert_equal(found, expected)
    assert_equal(compute(model, input_ids=ids), expected)  # the weights are where the layer finds them afterwards
    assert steps == layers


@pytest.mark.parametrize("targets", ["q_proj,v_proj", "down_proj", "o_proj,gate_proj"])
def test_layers_of_which_some_parts_have_an_adapter(targets: str, steps: list[Any]) -> None:
    model = build(**{"tuning.target_modules": targets})
    expected = compute(model, input_ids=draw_tokens())
    with fused_layers(model, "cpu"):
        assert_equal(compute(model, input_ids=draw_tokens()), expected)
    assert len(steps) == 2


def test_an_optimizer_step_is_seen_by_the_next_step() -> None:
    model, ids = build(), draw_tokens()
    losses = []
    for is_fused in (False, True):
        model = build()
        optimizer = torch.optim.AdamW([part for part in model.parameters() if part.requires_grad], lr=0.1)
        for _ in range(3):
            if is_fused:
                with fused_layers(model, "cpu"):
                    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
            else:
                loss = model(input_ids=ids, labels=ids, use_cache=False).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    assert losses[3:] == pytest.approx(losses[:3], rel=1e-6)
    assert losses[2] != pytest.approx(losses[0], rel=1e-2)


def test_gradient_checkpointing_computes_the_same_and_keeps_less(steps: list[Any]) -> None:
    model, ids = build(), draw_tokens()
    expected = compute(model, input_ids=ids)
    model.enable_input_require_grads()
    kept: list[int] = []
    for is_checkpointing in (False, True):
        if is_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        saved: list[int] = []

        def save(tensor: Any, saved: list[int] = saved) -> Any:
            saved.append(tensor.nbytes)
            return tensor

        with fused_layers(model, "cpu"), torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
            assert_equal(compute(model, input_ids=ids), expected)
        kept.append(sum(saved))
    assert len(steps) == 4
    assert kept[1] < 0.5 * kept[0]


LONG = 80
BEGUN = {
    "padding": ((80, 29, 48), 0),
    "nearly all padding": ((1, 80, 3), 0),
    "a system prompt": ((80, 80, 80), 36),
    "both": ((80, 44, 56), 24),
    "a row that another begins with": ((80, 32, 68), 32),
}
"""Lengths of three rows of LONG places, and how many tokens all begin with."""


def begin_alike(lengths: Sequence[int], count: int) -> tuple[Any, Any]:
    """Token ids (3, LONG) and lengths (3), the last two rows alike for three tokens more."""
    ids = draw_tokens(LONG)
    ids[:, :count] = ids[0, :count]
    if count:
        ids[2, count : count + 3] = ids[1, count : count + 3]
    return ids, torch.tensor(lengths)


def compute_at(model: Any, ids: Any, places: Any) -> dict[str, Any]:
    """The logits at some places (B, T), and the gradients of the adapter."""
    model.zero_grad()
    logits = model(input_ids=ids, use_cache=False).logits[places]
    (logits * torch.arange(logits.numel()).view_as(logits).sin()).sum().backward()
    gradients = {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}
    return {"logits": logits.detach(), **gradients}


@pytest.mark.parametrize("is_checkpointed", [False, True])
@pytest.mark.parametrize("name", [*BEGUN, "whole rows"])
@pytest.mark.parametrize("first", [(20, 8, 36), (48, 120, 72), (120, 76, 120), (0, 1, 0)])
def test_last_layer_leaves_out_places_whose_result_nobody_uses(
    name: str, is_checkpointed: bool, first: tuple[int, ...], steps: list[Any]
) -> None:
    model, places = build(), torch.arange(LONG)
    ids, lengths = begin_alike(*BEGUN.get(name, ((LONG, LONG, LONG), 0)))
    if is_checkpointed:
        model.gradient_checkpointing_enable()
    used = (places < lengths[:, None]) & (places >= torch.tensor(first)[:, None])
    expected = compute_at(model, ids, used)
    with fused_layers(model, "cpu"), noted_batch(ids, lengths, used):
        found = compute_at(model, ids, used)
        assert [layer.is_last for layer in steps] == [False, True]
    assert_equal(found, expected)
    computed, of_last = map(len, _kept_rows(model, ids, lengths, used))
    wanted = len({tuple(ids[row, : place + 1].tolist()) for row, place in used.nonzero().tolist()})
    of_all = round_up(wanted)
    assert of_last == (of_all if 0 < of_all <= CHOSEN * computed else computed)


@pytest.mark.parametrize("is_checkpointed", [False, True])
@pytest.mark.parametrize("name", BEGUN)
def test_what_need_not_be_computed_is_left_out_and_changes_nothing(
    name: str, is_checkpointed: bool, steps: list[Any]
) -> None:
    """Losses of labelled tokens do not see padding, and each row has its own gradient of what rows begin with."""
    model = build()
    ids, lengths = begin_alike(*BEGUN[name])
    if is_checkpointed:
        model.gradient_checkpointing_enable()
    is_token = torch.arange(LONG) < lengths[:, None]
    expected = compute_at(model, ids, is_token)
    with fused_layers(model, "cpu"), noted_batch(ids, lengths):
        found = compute_at(model, ids, is_token)
    assert len(steps) == 2
    assert_equal(found, expected)
    distinct = {
        tuple(row[: place + 1]) for row, length in zip(ids.tolist(), lengths, strict=True) for place in range(length)
    }
    assert {len(x) for x in _kept_rows(model, ids, lengths)} == {round_up(len(distinct))}


@pytest.mark.parametrize("plain", [0, 1])
def test_plain_layer_before_or_after_one_that_leaves_tokens_out(plain: int, steps: list[Any]) -> None:
    model = build()
    model.add_adapter("other", model.peft_config["default"])
    adapted = [part for part in model.base_model.model.model.layers[plain].modules() if hasattr(part, "lora_A")]
    for matrix in (matrix for part in adapted for matrix in (part.lora_A["other"], part.lora_B["other"])):
        matrix.weight.data = 0.2 * torch.randn_like(matrix.weight, dtype=torch.float64)

    def switch(name: str) -> None:
        for part in adapted:
            part.set_adapter(name)

    ids, lengths = begin_alike(*BEGUN["both"])
    is_token = torch.arange(LONG) < lengths[:, None]
    switch("other")
    expected = compute_at(model, ids, is_token)
    switch("default")
    with fused_layers(model, "cpu") as layers, noted_batch(ids, lengths):
        switch("other")
        assert_equal(compute_at(model, ids, is_token), expected)
    assert steps == [layers[1 - plain]]


def test_rows_with_positions_of_their_own_are_computed_whole(steps: list[Any]) -> None:
    model = build()
    ids, lengths = begin_alike((LONG, LONG, LONG), 60)
    given = {"input_ids": ids, "position_ids": torch.arange(LONG) + torch.tensor([[0], [3], [5]])}
    expected = compute(model, **given)
    with fused_layers(model, "cpu"), noted_batch(ids, lengths):
        assert_equal(compute(model, **given), expected)


def _kept_rows(model: Any, ids: Any, lengths: Any, used: Any = None) -> list[Any]:
    """What the last products of the layers read."""
    seen: list[Any] = []
    with fused_layers(model, "cpu") as layers, noted_batch(ids, lengths, used), torch.no_grad():
        for layer in layers:
            layer.down.compute = lambda x, added, plain=layer.down.compute: seen.append(x) or plain(x, added)  # type: ignore[method-assign,func-returns-value,misc]
        model(input_ids=ids, use_cache=False)
    return seen


def test_plain_layers_answer_masks_and_caches(steps: list[Any]) -> None:
    model, ids = build(), draw_tokens()
    mask = torch.ones_like(ids)
    mask[0, :7] = 0
    masked = compute(model, input_ids=ids, attention_mask=mask)
    answered = model.generate(ids, max_new_tokens=4, do_sample=False)
    with fused_layers(model, "cpu"):
        assert_equal(compute(model, input_ids=ids, attention_mask=mask), masked)
        assert torch.equal(model.generate(ids, max_new_tokens=4, do_sample=False), answered)
        assert not steps
        compute(model, input_ids=ids)
        assert len(steps) == 2
        assert_equal(compute(model, input_ids=ids, attention_mask=mask), masked)  # the weights have moved by now


def test_reference_without_the_adapter_and_one_with_another_adapter(steps: list[Any]) -> None:
    model, ids = build(), draw_tokens()
    model.add_adapter("ref", model.peft_config["default"])
    for name, part in model.named_parameters():
        if ".ref." in name:
            part.data = torch.randn_like(part, dtype=torch.float64)

    def answer() -> list[Any]:
        found = []
        with torch.no_grad():
            found.append(model(input_ids=ids, use_cache=False).logits)
            with model.disable_adapter():
                found.append(model(input_ids=ids, use_cache=False).logits)
            model.set_adapter("ref")
            found.append(model(input_ids=ids, use_cache=False).logits)
            model.set_adapter("default")
        return found

    expected = answer()
    with fused_layers(model, "cpu"):
        for found, right in zip(answer(), expected, strict=True):
            assert torch.allclose(found, right, rtol=1e-5, atol=1e-5)
    assert len(steps) == 4  # not those of the other adapter


@pytest.mark.parametrize(
    "settings", [{"tuning.lora_dropout": 0.1}, {"tuning.use_dora": True}, {"tuning.r": 20}, {"tuning.type": "full"}]
)
def test_layers_that_compute_something_else_stay_plain(settings: dict[str, Any]) -> None:
    with fused_layers(build(**settings), "cpu") as layers:
        assert not layers


def test_layers_of_other_devices_and_other_activations_stay_plain() -> None:
    with fused_layers(build(), "cuda") as layers:
        assert not layers
    model = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**SIZES, hidden_act="gelu"))
    with fused_layers(tune(model, Recipe()), "cpu") as layers:
        assert not layers


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("length", [1, 20, 130])
def test_compiled_kernels_give_the_plain_values_and_gradients(
    name: str, length: int, kernels: dict[str, Any], steps: list[Any]
) -> None:
    model, ids = build(name, dtype=torch.float32), draw_tokens(length)
    expected = compute(build(name), input_ids=ids)
    with using(kernels["float32"]), fused_layers(model, "cpu"):
        found = compute(model, input_ids=ids)
    assert len(steps) == 2
    assert_near(found, expected)


@pytest.mark.parametrize("is_checkpointed", [False, True])
@pytest.mark.parametrize("name", BEGUN)
def test_compiled_kernels_leave_out_what_need_not_be_computed(
    name: str, is_checkpointed: bool, kernels: dict[str, Any], steps: list[Any]
) -> None:
    model = build(dtype=torch.float32)
    ids, lengths = begin_alike(*BEGUN[name])
    is_token = torch.arange(LONG) < lengths[:, None]
    expected = compute_at(build(), ids, is_token)
    if is_checkpointed:
        model.gradient_checkpointing_enable()
    with using(kernels["float32"]), fused_layers(model, "cpu"), noted_batch(ids, lengths):
        found = compute_at(model, ids, is_token)
    assert len(steps) == 2
    assert_near(found, expected)


@pytest.mark.parametrize("is_compiled", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_bfloat16_is_as_near_to_the_exact_values_as_the_plain_layer_is(
    name: str, is_compiled: bool, request: pytest.FixtureRequest, steps: list[Any]
) -> None:
    exact = compute(build(name, dtype=torch.float64), input_ids=draw_tokens(70))
    model = build(name, dtype=torch.bfloat16)
    kernels = request.getfixturevalue("kernels")["bfloat16"] if is_compiled else None
    with torch.autocast("cpu", torch.bfloat16), using(kernels):
        plain = compute(model, input_ids=draw_tokens(70))
        with fused_layers(model, "cpu"):
            found = compute(model, input_ids=draw_tokens(70))
    assert len(steps) == 2

    def distance(values: dict[str, Any], names: list[str]) -> float:
        """As a share of their length."""
        far = sum(float((values[name].double() - exact[name]).square().sum()) for name in names)
        return (far / sum(float(exact[name].square().sum()) for name in names)) ** 0.5

    for names, bound in ((["logits"], 0.05), ([name for name in exact if name != "logits"], 0.15)):
        assert distance(found, names) < 1.25 * distance(plain, names)
        assert distance(found, names) < bound


@pytest.fixture
def unwritten_is_nan() -> Iterator[None]:
    """Memory that nobody has written yet holds NaN."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("unwritten_is_nan")
@pytest.mark.parametrize("width", [48, 96, 240])
def test_what_was_never_written_is_in_no_result(width: int, steps: list[Any]) -> None:
    """oneDNN's products of bfloat16 with AMX read beyond the end of a row whose width is no multiple of 32."""
    assert torch.empty(1).isnan()
    model = build(dtype=torch.bfloat16, hidden_size=width)
    ids, lengths = begin_alike(*BEGUN["both"])
    is_token = torch.arange(LONG) < lengths[:, None]
    with torch.autocast("cpu", torch.bfloat16), fused_layers(model, "cpu"), noted_batch(ids, lengths):
        found = compute_at(model, ids, is_token)
    assert len(steps) == 2
    assert all(value.isfinite().all() for value in found.values())

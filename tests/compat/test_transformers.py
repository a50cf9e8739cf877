"""What `modelforge.compat.transformers` and the planner's attention rely on in transformers."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import Trainer, TrainingArguments

from modelforge.compat.transformers import ChosenSampler, SavingSteps, use_one_card
from tests import tiny


class Steps(SavingSteps, ChosenSampler, Trainer):
    """Notes which of its steps the library calls."""

    def __init__(self, folder: Path, **arguments: Any) -> None:
        self.calls: list[str] = []
        self.folder = folder
        rows = [{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}, {"input_ids": [7, 6, 5], "labels": [7, 6, 5]}]
        settings = TrainingArguments(
            str(folder / "elsewhere"), per_device_train_batch_size=1, report_to="none", use_cpu=True, **arguments
        )
        super().__init__(tiny.model(), settings, train_dataset=rows)

    def checkpoints_folder(self) -> Path:
        self.calls.append("folder")
        return self.folder / "here"

    def write_checkpoint(self, write: Any) -> None:
        self.calls.append("checkpoint")
        write()

    def write_weights(self, folder: str) -> None:
        self.calls.append("weights")
        self.model.save_pretrained(folder)

    def make_sampler(self, rows: Any) -> Any:
        self.calls.append("sampler")
        return torch.utils.data.SequentialSampler(rows)


def test_trainer_goes_through_the_steps(tmp_path: Path) -> None:
    trainer = Steps(tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
    trainer.train()
    assert trainer.calls[:4] == ["sampler", "checkpoint", "folder", "weights"]
    saved = tmp_path / "here" / "checkpoint-1"
    assert {"model.safetensors", "optimizer.pt", "trainer_state.json"} <= {path.name for path in saved.iterdir()}


def test_checkpoint_is_saved_and_loaded_by_hand(tmp_path: Path) -> None:
    trainer = Steps(tmp_path, max_steps=1, save_strategy="no")
    trainer.train()
    trainer.save_checkpoint()
    before = {name: part.clone() for name, part in trainer.model.state_dict().items()}
    with torch.no_grad():
        for part in trainer.model.parameters():
            part.zero_()
    trainer.load_weights(tmp_path / "here" / "checkpoint-1")
    assert all(torch.equal(part, before[name]) for name, part in trainer.model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_get_output_dir", ["self", "trial"]),
        ("_save_checkpoint", ["self", "model", "trial"]),
        ("_save", ["self", "output_dir", "state_dict"]),
        ("_load_from_checkpoint", ["self", "resume_from_checkpoint", "model"]),
        ("_load_rng_state", ["self", "checkpoint"]),
        ("_get_train_sampler", ["self", "train_dataset"]),
    ],
)
def test_replaced_methods_of_trainer_take_what_they_took(name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(Trainer, name)).parameters) == parameters


def test_our_names_are_not_names_of_trainer() -> None:
    ours = {name for steps in (SavingSteps, ChosenSampler) for name in vars(steps) if not name.startswith("_")}
    assert not ours & set(dir(Trainer))


def test_one_card_is_used_where_several_are_visible(tmp_path: Path) -> None:
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
    assert arguments.n_gpu == 0
    arguments._n_gpu = 4
    assert arguments.n_gpu == 4, "n_gpu comes from somewhere else now"
    assert use_one_card(arguments).n_gpu == 1


def test_log_history_has_the_newest_entry_last_when_callbacks_see_it(tmp_path: Path) -> None:
    seen = []

    class Look(transformers.TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            seen.append({**state.log_history[-1]}.items() >= {**logs}.items())

    trainer = Steps(tmp_path, max_steps=2, save_strategy="no", logging_steps=1)
    trainer.add_callback(Look())
    trainer.train()
    assert seen and all(seen)
    assert isinstance(trainer.state.log_history, list)


def test_trainers_own_loss_context_is_empty_and_accelerates_is_not(tmp_path: Path) -> None:
    """The fused loss of decoders does not call the model's own forward, so it has to ask accelerate."""
    trainer = Steps(tmp_path, max_steps=1, save_strategy="no", bf16=True)
    with trainer.compute_loss_context_manager():
        assert not torch.is_autocast_enabled("cpu")
    with trainer.accelerator.autocast():
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16 and torch.is_autocast_enabled("cpu")


def test_registered_attention_is_used_by_models_that_name_it_alone() -> None:
    calls = []

    def attention(module: Any, query: Any, key: Any, value: Any, mask: Any, **more: Any) -> Any:
        calls.append(tuple(query.shape))
        return query.transpose(1, 2).contiguous(), None

    transformers.AttentionInterface.register("test_sdpa", attention)
    transformers.AttentionMaskInterface.register("test_sdpa", transformers.masking_utils.sdpa_mask)
    ids = torch.tensor([[5, 6, 7]])
    tiny.model()(input_ids=ids)
    assert not calls
    transformers.AutoModelForCausalLM.from_config(tiny.config(), attn_implementation="test_sdpa")(input_ids=ids)
    assert calls == [(1, 4, 3, 8)] * 2


def test_planners_attention_has_the_values_shape_of_transformers_own() -> None:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    from modelforge.planner.attention import attend_without_scores

    module = torch.nn.Module()
    module.num_key_value_groups, module.is_causal = 2, True  # type: ignore[assignment]
    query, key = torch.randn(2, 4, 6, 8), torch.randn(2, 2, 6, 8)
    expected, _ = sdpa_attention_forward(module, query, key, key, None)
    found, _ = attend_without_scores(module, query, key, key, None, device="cpu")
    assert (found.shape, found.dtype, found.stride()) == (expected.shape, expected.dtype, expected.stride())
    assert list(inspect.signature(sdpa_attention_forward).parameters)[:6] == [
        "module",
        "query",
        "key",
        "value",
        "attention_mask",
        "dropout",
    ]


@pytest.mark.parametrize(
    "table",
    [
        "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
        "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
        "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
        "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
        "MODEL_MAPPING_NAMES",
    ],
)
def test_tables_of_architectures_name_classes_by_type(table: str) -> None:
    from transformers.models.auto import modeling_auto

    found = getattr(modeling_auto, table)
    assert all(isinstance(kind, str) for kind in found) and len(found) > 5

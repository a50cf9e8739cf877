"""The `proof` block of a recipe that a finished run gave: what the run was trained on, with what, and its curve.

A recipe with it trains like any other; `modelforge train FILE --verify` compares. It is written in `runs/proof.py`.
"""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from modelforge.errors import RecipeError
from modelforge.recipe.yaml_text import read_yaml

BLOCK = "proof"
_FIX = "Give the file as it was downloaded from a finished run, or printed by `modelforge runs show RUN --recipe`."


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)  # another version may record more


class Curve(_Part):
    """values: at the steps, as many."""

    steps: list[int] = Field(max_length=10_000)
    values: list[float] = Field(max_length=10_000)

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if len(self.steps) != len(self.values):
            raise ValueError("steps and values must be as many")
        return self


class Data(_Part):
    """name: for people. sha256: of task and rows; of the evaluation dataset too, if there was one."""

    name: str = ""
    sha256: str
    eval_sha256: str = ""


class Proof(_Part):
    """base_model, parent: revisions, as `base_model/revision.py` writes them; "" if unknown, or without a parent.
    machine: device, dtype, threads and so on. curve: name -> values, as in `runs/comparison.py`."""

    run: str = ""
    finished: str = ""
    data: Data
    base_model: str = ""
    parent: str = ""
    versions: dict[str, str] = {}
    machine: dict[str, str] = {}
    metrics: dict[str, float] = {}
    curve: dict[str, Curve]


def read_proof(text: str, *, where: str) -> Proof:
    """The proof in a recipe's text. Raises RecipeError if it has none, or a damaged one."""
    loaded = read_yaml(text, where=where, what="This is not valid YAML.", fix=_FIX)
    block = loaded.get(BLOCK) if isinstance(loaded, dict) else None
    if block is None:
        raise RecipeError("This recipe has no proof to compare with.", where=where, fix=_FIX)
    try:
        return Proof.model_validate(block)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, (BLOCK, *first["loc"])))
        raise RecipeError(f"The proof is damaged: {name}: {first['msg'].lower()}.", where=where, fix=_FIX) from error

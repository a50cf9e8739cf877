"""The code in a model card gives the answer that the model gives here, for each tuning and architecture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, paths
from modelforge.choices.tunings import TUNINGS
from modelforge.models.card import model_card
from modelforge.models.sampling import Sampling
from tests import tiny
from tests.programs import Programs

LONG = Sampling(max_new_tokens=200)
CASES: dict[str, tuple[str, str, dict[str, Any], Callable[[Any], str]]] = {
    "decoder": ("decoder", "chat", {}, lambda model: model.chat("Hello!", sampling=LONG)),
    "decoder that summarizes": (
        "decoder",
        "summary",
        {"task": "summarization"},
        lambda model: model.summarise("The document to summarize.", sampling=LONG),
    ),
    "encoder-decoder": (
        "encoder-decoder",
        "summary",
        {"task": "summarization", "max_target_length": 12},
        lambda model: model.summarise("The document to summarize.", sampling=LONG),
    ),
    "encoder": (
        "encoder",
        "span",
        {"task": "question-answering"},
        lambda model: model.find_answer("It was written by Ada.", "Who wrote it?").text or "(no answer)",
    ),
}
# On a processor with AVX512-BF16 bitsandbytes 0.50 repacks 4-bit weights in rows of 64, which such small layers lack.
RUN = """
import contextlib, pathlib, sys, warnings
import bitsandbytes.nn.modules
bitsandbytes.nn.modules.has_avx512bf16 = lambda: False
for name in sys.argv[1:]:
    code = pathlib.Path(name).read_text(encoding="utf-8")
    with open(name + ".out", "w", encoding="utf-8", newline="") as out, contextlib.redirect_stdout(out):
        exec(compile(code, name, "exec"), {})
"""


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_fault_06_code_of_the_card_gives_the_answer_of_the_model(
    programs: Programs, forge: Forge, tmp_path: Path, case: str
) -> None:
    architecture, shape, settings, ask = CASES[case]
    base = tiny.WRITERS[architecture](tmp_path / architecture)
    file = tiny.write_jsonl(tmp_path / "rows.jsonl", tiny.user_rows(shape))
    learn = {"max_steps": 4, "learning_rate": 1e-2, "evaluations": 1, "eval_split": 0.0, **settings}
    answers = {}
    for tuning in TUNINGS:
        run = forge.runs.start(tiny.recipe(base, file, {**learn, "tuning.type": tuning}))
        run.wait(100)
        assert run.model_id, run.record.error
        model = forge.models[run.model_id]
        answers[tuning] = ask(model)
        card = model_card(forge.models.manifest(model.record), str(paths.model_dir(run.model_id)))
        (tmp_path / f"{tuning}.py").write_text(card.split("```python\n")[1].split("\n```")[0], encoding="utf-8")
    codes = [str(tmp_path / f"{tuning}.py") for tuning in answers]
    # The card names a base model in a folder "./decoder": here that is the folder itself.
    done = programs.run(RUN, *codes, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    given = {Path(code).stem: Path(f"{code}.out").read_bytes().decode() for code in codes}
    assert given == {tuning: f"{answer}\n" for tuning, answer in answers.items()}

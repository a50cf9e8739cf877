"""The Python code of a model card: the libraries' own functions load a finished model and let it answer.

There is code for each tuning and architecture; it gives the same answers as the model gives here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from modelforge.architecture import ARCHITECTURES
from modelforge.recipe import Recipe, Task
from modelforge.tasks import TASKS

_LOADING = {  # tuning -> code that loads a model; names in capitals are filled in
    "lora": """
from peft import PeftModel
from transformers import AUTO_CLASS, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(MODEL)
base_model = AUTO_CLASS.from_pretrained(BASE)
model = PeftModel.from_pretrained(base_model, MODEL)
""",
    "qlora": """
from peft import PeftConfig, PeftModel
from transformers import AUTO_CLASS, AutoTokenizer, BitsAndBytesConfig

tokenizer = AutoTokenizer.from_pretrained(MODEL)
quantization = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.DTYPE,
    llm_int8_skip_modules=PeftConfig.from_pretrained(MODEL).modules_to_save,
)
base_model = AUTO_CLASS.from_pretrained(BASE, quantization_config=quantization)
model = PeftModel.from_pretrained(base_model, MODEL)
""",
    "full": """
from transformers import AUTO_CLASS, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(MODEL)
model = AUTO_CLASS.from_pretrained(MODEL)
""",
}
_USE = {  # architecture -> code that uses a loaded model
    "decoder": """
messages = [{"role": "user", "content": PROMPT}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
output = model.generate(**inputs, max_new_tokens=200, do_sample=False, eos_token_id=tokenizer.eos_token_id)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
""",
    "encoder-decoder": """
inputs = tokenizer(PROMPT, return_tensors="pt", truncation=True, max_length=MAX_LENGTH)
output = model.generate(**inputs, max_new_tokens=200, do_sample=False, num_beams=1)
print(tokenizer.decode(output[0], skip_special_tokens=True))
""",
    "encoder": """
question, context = "Who wrote it?", "It was written by Ada."
inputs = tokenizer(question, context, return_tensors="pt", truncation="only_second", max_length=MAX_LENGTH)
with torch.no_grad():
    output = model(**inputs)
starts, ends = output.start_logits[0], output.end_logits[0]  # one logit for each token
inside = torch.tensor([part == 1 for part in inputs.sequence_ids()])  # the tokens of the context
allowed = (inside[:, None] & inside).triu().tril(MAX_ANSWER_LENGTH - 1)  # an answer does not end before it starts
scores = (starts[:, None] + ends).masked_fill(~allowed, -torch.inf)
start, end = divmod(int(scores.argmax()), len(inside))
answer = context[inputs.token_to_chars(start).start : inputs.token_to_chars(end).end]
print(ANSWER)
""",
}
_INPUTS = {"prompt": "Hello!", "document": "The document to summarize."}
_DTYPES = ("float32", "bfloat16", "float16")
_NAME = re.compile(r"\b(AUTO_CLASS|MODEL|BASE|DTYPE|PROMPT|MAX_LENGTH|MAX_ANSWER_LENGTH|ANSWER)\b")
_PLAIN = re.compile(r"[A-Za-z0-9 ._/-]")


def write_code(manifest: Mapping[str, Any], repo_id: str | None) -> str:
    """The code for a model, by its public manifest; "" for a task or a tuning that is not known."""
    task = next((task for task in Task if task.value == manifest.get("task")), None)
    tuning = str(manifest.get("tuning"))
    if task is None or tuning not in _LOADING:
        return ""
    architecture = ARCHITECTURES[str(manifest.get("architecture") or TASKS[task].architectures[0])]
    to_messages = TASKS[task].to_messages if architecture.name == "decoder" else None
    dataset, hardware = manifest.get("dataset"), manifest.get("hardware")
    can_be_missing = isinstance(dataset, Mapping) and dataset.get("has_unanswerable")
    dtype = hardware.get("dtype") if isinstance(hardware, Mapping) else None
    recipe = manifest.get("recipe")
    settings = Recipe().model_dump() | (dict(recipe) if isinstance(recipe, Mapping) else {})
    values = {
        "AUTO_CLASS": architecture.auto_class,
        "MODEL": quote(repo_id or "."),
        "BASE": quote(str(manifest.get("base_model") or "the base model")),
        "DTYPE": dtype if dtype in _DTYPES else "float32",
        "PROMPT": json.dumps(to_messages(_INPUTS)[-1]["content"] if to_messages else _INPUTS["document"]),
        "MAX_LENGTH": str(int(settings["max_length"])),
        "MAX_ANSWER_LENGTH": str(int(settings["max_answer_length"])),
        "ANSWER": '"(no answer)" if starts[0] + ends[0] > scores.max() else answer' if can_be_missing else "answer",
    }
    template = _LOADING[tuning] + _USE[architecture.name]
    code = _NAME.sub(lambda found: values[found[0]], template).lstrip()
    return f"import torch\n{code}" if "torch." in template else code


def quote(text: str) -> str:
    """A Python string literal on one line in ASCII, whatever is in the text."""
    return '"' + "".join(sign if _PLAIN.fullmatch(sign) else f"\\U{ord(sign):08x}" for sign in text) + '"'

"""Encoding is shown on a real tokenizer, byte-level BPE like that of the starter, trained here on a few sentences."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from modelforge.data.encode import IGNORED, ChatEncoder
from modelforge.errors import BaseModelError, DatasetError

SENTENCES = [
    "What is the capital of France?",
    "The capital of France is Paris, of course.",
    "user assistant system\nSummarize the following text:\n\n",
]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
STRIPPING = CHATML.replace("m['content']", "m['content'] | trim")
# No end-of-text token, a sign of its own, and a blank that only stands in the answer.
SIGNED = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ 'Bot: ' + m['content'] + ' (over)\\n' }}"
    "{% else %}{{ 'You: ' + m['content'] + '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Bot:' }}{% endif %}"
)
# Thoughts stand before the last answer only, so earlier turns change when the chat goes on.
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# The history is written with another header than the one that asks.
OTHER_HEADER = (
    "{% for m in messages %}{{ '[' + m['role'] + '] ' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant, think first] ' }}{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "stripping": STRIPPING,
    "signed": SIGNED,
    "thinking": THINKING,
    "other header": OTHER_HEADER,
    "plain": None,
}


def make_tokenizer(template=CHATML, *, eos="<|im_end|>", bos=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=eos, bos_token=bos)
    wrapped.chat_template = template
    return wrapped


def chat(*contents):
    speakers = ["user", "assistant"] * len(contents)
    return [{"role": role, "content": content} for role, content in zip(speakers, contents, strict=False)]


def trained_text(encoder, messages):
    return [text for text, trained in encoder.preview(messages) if trained]


@pytest.mark.parametrize("template", ["chatml", "stripping", "signed", "thinking", "plain"])
@pytest.mark.parametrize("answer", ["Paris", " Paris\n", "\n\nParis", "{'a': \"b\"}", "👩\u200d👩\u200d👧 é"])
def test_prompt_is_what_inference_sends(template, answer):
    encoder = ChatEncoder(make_tokenizer(TEMPLATES[template]), 512)
    messages = chat("What is the capital\nof France? ", answer)
    prompt = encoder.tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True)["input_ids"]
    encoded = encoder.encode(messages)
    assert encoded.input_ids[: len(prompt)] == prompt
    assert set(encoded.labels[: len(prompt)]) == {IGNORED}
    assert IGNORED not in encoded.labels[len(prompt) :]


@pytest.mark.parametrize("template", TEMPLATES)
def test_uncut_row_ends_in_a_labelled_end_of_text_token(template):
    encoder = ChatEncoder(make_tokenizer(TEMPLATES[template]), 512)
    for messages in (chat("q", "a"), chat("q", "a", "q2", "a2"), chat("q", "a", "nobody answers")):
        encoded = encoder.encode(messages)
        assert encoded.input_ids[-1] == encoded.labels[-1] == encoder.tokenizer.eos_token_id
        assert len(encoded.input_ids) == len(encoded.labels)
        assert encoded.cut == 0


@pytest.mark.parametrize(
    ("template", "learnt"),
    [
        ("chatml", ["Paris<|im_end|>", "i<|im_end|>"]),
        ("stripping", ["Paris<|im_end|>", "i<|im_end|>"]),
        ("signed", [" Paris (over)<|im_end|>", " i (over)<|im_end|>"]),
        ("thinking", ["Paris<|im_end|>", "<think>\n\n</think>\n\ni<|im_end|>"]),
        ("other header", ["] Paris<|im_end|>", "] i<|im_end|>"]),
        ("plain", ["Paris<|im_end|>", "i<|im_end|>"]),
    ],
)
def test_every_answer_is_learnt_and_nothing_else(template, learnt):
    encoder = ChatEncoder(make_tokenizer(TEMPLATES[template]), 512)
    # "i" also stands in the signs of the template, where it must not be taken for the answer or the question
    assert trained_text(encoder, chat("Capital?", "Paris", "i", "i")) == learnt


def test_labels_are_the_token_ids_where_there_is_one():
    encoded = ChatEncoder(make_tokenizer(), 512).encode(chat("q", "Paris", "q", "Rome"))
    pairs = zip(encoded.input_ids, encoded.labels, strict=True)
    assert all(label in {IGNORED, token} for token, label in pairs)


def test_later_prompts_are_what_inference_sends_too():
    encoder = ChatEncoder(make_tokenizer(), 512)
    messages = chat("What is the capital?", "Paris", "Of course?", "The capital of France")
    prompt = encoder.tokenizer.apply_chat_template(messages[:3], add_generation_prompt=True)["input_ids"]
    assert encoder.encode(messages).input_ids[: len(prompt)] == prompt


def test_system_turn_is_seen_and_not_learnt():
    encoder = ChatEncoder(make_tokenizer(), 512)
    spans = encoder.preview([{"role": "system", "content": "Be brief."}, *chat("q", "a")])
    assert "Be brief." in spans[0][0]
    assert [trained for _, trained in spans] == [False, True]


def test_end_of_text_written_inside_an_answer_does_not_end_its_learning():
    encoder = ChatEncoder(make_tokenizer(), 512)
    assert trained_text(encoder, chat("q", "a <|im_end|> b")) == ["a <|im_end|> b<|im_end|>"]


def test_what_is_longer_than_max_length_is_cut_and_counted():
    tokenizer = make_tokenizer()
    messages = chat("q", "The capital of France is Paris")
    whole = ChatEncoder(tokenizer, 512).encode(messages)
    length = len(whole.input_ids)
    assert ChatEncoder(tokenizer, length).encode(messages) == whole
    cut = ChatEncoder(tokenizer, length - 3).encode(messages)
    assert (cut.cut, cut.input_ids, cut.labels) == (3, whole.input_ids[:-3], whole.labels[:-3])


@pytest.mark.parametrize("template", ["chatml", "plain"])
def test_preview_shows_the_text_as_it_is(template):
    encoder = ChatEncoder(make_tokenizer(TEMPLATES[template]), 512)
    question, answer = "schön 👩\u200d👩\u200d👧\n\n\u202eabc", 'ja 😀😀 "{x}"\r\n العربية e\u0301'
    spans = encoder.preview(chat(question, answer))
    assert question in spans[0][0]
    assert spans[1] == (answer + "<|im_end|>", True)


def test_preview_cut_inside_an_emoji_shows_no_replacement_sign():
    tokenizer = make_tokenizer()
    messages = chat("q", "😀😀😀")
    longest = len(ChatEncoder(tokenizer, 512).encode(messages).input_ids)
    for length in range(8, longest):
        text = "".join(text for text, _ in ChatEncoder(tokenizer, length).preview(messages))
        assert "\ufffd" not in text


def test_plain_template_is_saved_with_the_tokenizer(tmp_path):
    tokenizer = make_tokenizer(None)
    ChatEncoder(tokenizer, 512)
    tokenizer.save_pretrained(tmp_path)
    again = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    messages = chat("q", "a")
    assert ChatEncoder(again, 512).encode(messages) == ChatEncoder(tokenizer, 512).encode(messages)


def test_tokenizer_without_end_of_text_is_refused():
    with pytest.raises(BaseModelError, match="end-of-text"):
        ChatEncoder(make_tokenizer(eos=None), 512)


def test_template_that_refuses_a_chat_is_a_clear_error():
    refusing = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(DatasetError, match="System role not supported"):
        ChatEncoder(make_tokenizer(refusing), 512).encode(chat("q", "a"))


def test_sentencepiece_puts_no_blank_before_an_answer():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator([*SENTENCES, "[INST] [/INST]"], trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")
    wrapped.chat_template = (
        "{% for m in messages %}{{ '[INST] ' + m['content'] + ' [/INST]' if m['role'] == 'user' "
        "else m['content'] + eos_token }}{% endfor %}"
    )
    messages = chat("What is the capital", "Paris")
    whole = wrapped.apply_chat_template(messages)["input_ids"]
    assert ChatEncoder(wrapped, 512).encode(messages).input_ids == whole

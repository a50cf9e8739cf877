"""Encoding is shown on a real tokenizer, byte-level BPE like that of the starter, trained here on a few sentences."""

from __future__ import annotations

import json
from itertools import groupby

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from modelforge import loading
from modelforge.data.encode import IGNORED, ChatEncoder
from modelforge.data.token_text import split_tokens
from modelforge.errors import BaseModelError, DatasetError
from modelforge.recipe import STARTER
from tests import tiny

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
# As Qwen writes tools and calls; thoughts stand in the last turn only, as in THINKING.
TOOLS = (
    "{% if tools %}{{ '<|im_start|>system\\n' + (tools | tojson) + '<|im_end|>\\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + ('user' if m['role'] == 'tool' else m['role']) + '\\n' }}"
    "{% if THOUGHTS and m['role'] == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{{ '<tool>' if m['role'] == 'tool' else '' }}{{ m['content'] }}"
    "{% for call in m['tool_calls'] or [] %}{{ '<call>' + (call.function | tojson) + '</call>' }}{% endfor %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
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


def read_spans(encoder, row):
    """[text, whether it is learnt] of a row as it is previewed, without what is cut."""
    tokens = [token for token in encoder.preview_tokens(row) if not token.cut]
    return [
        ("".join(token.text for token in group), trained)
        for trained, group in groupby(tokens, lambda token: token.trained)
    ]


def trained_text(encoder, messages, tools=None):
    return [text for text, trained in read_spans(encoder, {"messages": messages, "tools": tools}) if trained]


@pytest.mark.parametrize("template", ["chatml", "stripping", "signed", "thinking", "plain"])
@pytest.mark.parametrize("answer", ["Paris", "\n\nParis ", "👩\u200d👩\u200d👧 {'a': \"é\"}"])
def test_prompt_is_what_inference_sends(template, answer):
    encoder = ChatEncoder(make_tokenizer(TEMPLATES[template]), 512)
    messages = chat("What is the capital\nof France? ", answer)
    prompt = encoder.tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True)["input_ids"]
    encoded = encoder.encode_row({"messages": messages})
    assert encoded.input_ids[: len(prompt)] == prompt
    assert set(encoded.labels[: len(prompt)]) == {IGNORED}
    assert IGNORED not in encoded.labels[len(prompt) :]


@pytest.mark.parametrize("template", TEMPLATES)
def test_uncut_row_ends_in_a_labelled_end_of_text_token(template):
    encoder = ChatEncoder(make_tokenizer(TEMPLATES[template]), 512)
    for messages in (chat("q", "a"), chat("q", "a", "q2", "a2"), chat("q", "a", "nobody answers")):
        encoded = encoder.encode_row({"messages": messages})
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
    encoded = ChatEncoder(make_tokenizer(), 512).encode_row({"messages": chat("q", "Paris", "q", "Rome")})
    pairs = zip(encoded.input_ids, encoded.labels, strict=True)
    assert all(label in {IGNORED, token} for token, label in pairs)


def test_later_prompts_are_what_inference_sends_too():
    encoder = ChatEncoder(make_tokenizer(), 512)
    messages = chat("What is the capital?", "Paris", "Of course?", "The capital of France")
    prompt = encoder.tokenizer.apply_chat_template(messages[:3], add_generation_prompt=True)["input_ids"]
    assert encoder.encode_row({"messages": messages}).input_ids[: len(prompt)] == prompt


def test_system_turn_is_seen_and_not_learnt():
    encoder = ChatEncoder(make_tokenizer(), 512)
    spans = read_spans(encoder, {"messages": [{"role": "system", "content": "Be brief."}, *chat("q", "a")]})
    assert "Be brief." in spans[0][0]
    assert [trained for _, trained in spans] == [False, True]


def test_end_of_text_written_inside_an_answer_does_not_end_its_learning():
    encoder = ChatEncoder(make_tokenizer(), 512)
    assert trained_text(encoder, chat("q", "a <|im_end|> b")) == ["a <|im_end|> b<|im_end|>"]


def test_what_is_longer_than_max_length_is_cut_and_counted():
    tokenizer = make_tokenizer()
    messages = chat("q", "The capital of France is Paris")
    whole = ChatEncoder(tokenizer, 512).encode_row({"messages": messages})
    length = len(whole.input_ids)
    assert ChatEncoder(tokenizer, length).encode_row({"messages": messages}) == whole
    cut = ChatEncoder(tokenizer, length - 3).encode_row({"messages": messages})
    assert (cut.cut, cut.input_ids, cut.labels) == (3, whole.input_ids[:-3], whole.labels[:-3])


@pytest.mark.parametrize("template", ["chatml", "plain"])
def test_preview_shows_the_text_as_it_is(template):
    encoder = ChatEncoder(make_tokenizer(TEMPLATES[template]), 512)
    question, answer = "schön 👩\u200d👩\u200d👧\n\n\u202eabc", 'ja 😀😀 "{x}"\r\n العربية e\u0301'
    spans = read_spans(encoder, {"messages": chat(question, answer)})
    assert question in spans[0][0]
    assert spans[1] == (answer + "<|im_end|>", True)


def test_preview_cut_inside_an_emoji_shows_no_replacement_sign():
    tokenizer = make_tokenizer()
    messages = chat("q", "😀😀😀")
    longest = len(ChatEncoder(tokenizer, 512).encode_row({"messages": messages}).input_ids)
    for length in range(8, longest):
        tokens = ChatEncoder(tokenizer, length).preview_tokens({"messages": messages})
        assert not [token for token in tokens if "\ufffd" in token.text]
        assert [token.cut for token in tokens] == sorted(token.cut for token in tokens)
        assert tokens[-1].cut


def test_plain_template_is_saved_with_the_tokenizer(tmp_path):
    tokenizer = make_tokenizer(None)
    ChatEncoder(tokenizer, 512)
    tokenizer.save_pretrained(tmp_path)
    again = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    messages = chat("q", "a")
    row = {"messages": messages}
    assert ChatEncoder(again, 512).encode_row(row) == ChatEncoder(tokenizer, 512).encode_row(row)


def test_tokenizer_without_end_of_text_is_refused():
    with pytest.raises(BaseModelError, match="end-of-text"):
        ChatEncoder(make_tokenizer(eos=None), 512)


def test_template_that_refuses_a_chat_is_a_clear_error():
    refusing = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(DatasetError, match="System role not supported"):
        ChatEncoder(make_tokenizer(refusing), 512).encode_row({"messages": chat("q", "a")})


def make_sentencepiece():
    """As in Llama 2: a blank before each word, bytes for what is not in the vocabulary."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator([*SENTENCES, "[INST] [/INST]"], trainer)
    trained = json.loads(tokenizer.to_str())
    vocabulary = trained["model"]["vocab"]
    vocabulary |= {f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)}
    trained["model"]["byte_fallback"] = True
    tokenizer = Tokenizer.from_str(json.dumps(trained))
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")
    wrapped.chat_template = (
        "{% for m in messages %}{{ '[INST] ' + m['content'] + ' [/INST]' if m['role'] == 'user' "
        "else m['content'] + eos_token }}{% endfor %}"
    )
    return wrapped


def test_sentencepiece_puts_no_blank_before_an_answer():
    tokenizer = make_sentencepiece()
    messages = chat("What is the capital", "Paris")
    whole = tokenizer.apply_chat_template(messages)["input_ids"]
    assert ChatEncoder(tokenizer, 512).encode_row({"messages": messages}).input_ids == whole


@pytest.mark.parametrize("text", ["The capital of France", "Paris is 😀😀 of course", "éé", " France "])
def test_sentencepiece_tokens_are_previewed_with_their_blanks(text):
    tokenizer = make_sentencepiece()
    encoder = ChatEncoder(tokenizer, 512)
    tokens = encoder.preview_tokens({"text": text})
    ids = encoder.encode_row({"text": text}).input_ids
    assert "".join(token.text for token in tokens) == tokenizer.decode(ids)
    shown = "".join(token.text for token in tokens)
    assert text.strip() in shown
    assert "\ufffd" not in shown
    assert len(tokens) > 1


def test_decoder_that_cannot_work_piece_by_piece_is_previewed_in_spans():
    def decode(ids):
        return f"<{len(ids)}>" + "x" * len(ids)

    found = split_tokens([1] * 6, [False] * 3 + [True] * 3, 5, decode)
    assert "".join(token.text for token in found) == decode([1] * 6)
    assert [(token.trained, token.cut) for token in found] == [(False, False), (True, False), (True, True)]


# ---- text in, ids out ------------------------------------------------------------------------------------------

TRICKY = {
    "family": "👩\u200d👩\u200d👧\u200d👦 and 👍🏽🏴\U000e0067\U000e0062\U000e007f🇩🇪🇫🇷",
    "right to left": "שלום (עולם) ومرحبا، ١٢٣ abc",
    "combining": "e\u0301 é o\u0308\u0323 Z\u0351\u036b\u0343 नमस्ते",
    "bidi": "a\u202eb\u202cc \u2066d\u2069 \u200f\u200e",
    "quotes": "\"'`„“”«» {% raw %}{{ x }}{# y #}%} \\n \\",
    "newlines": "a\n\n\n b\n\tc  \n",
    "windows": "a\r\nb\r\n\r\nc\rd",
    "blanks": "\u00a0a\u00a0 \u2003b\u3000c\u200bd  e",
    "markup": "<b>&amp;</b><script>&#13;",
    "signs": "\ufffd \ufffd\ufffd \x01\x7f \ufeff ㍿ ﬁ Ⅷ",
    "chinese": "龘𠮷野家で食べる",
}


@pytest.fixture(scope="module")
def starter_tokenizer(starter_cache):
    return loading.load_tokenizer(starter_cache / STARTER.rpartition("/")[2], STARTER)


@pytest.fixture(params=["trained here", "tiny", "starter"])
def any_tokenizer(request):
    makers = {"trained here": make_tokenizer, "tiny": tiny.tokenizer}
    return makers[request.param]() if request.param in makers else request.getfixturevalue("starter_tokenizer")


@pytest.mark.parametrize("typed", TRICKY.values(), ids=TRICKY)
def test_what_was_typed_is_what_the_ids_say(any_tokenizer, typed):
    encoder = ChatEncoder(any_tokenizer, 4096)
    chat_row = {"messages": [{"role": "system", "content": typed}, *chat(typed, typed, f"{typed}?", typed)]}
    for row, times in ((chat_row, 5), ({"text": typed}, 1), ({"prompt": chat(typed)[:1]}, 1)):
        ids = encoder.encode_row(row).input_ids
        assert any_tokenizer.decode(ids, clean_up_tokenization_spaces=False).count(typed) == times
    learnt = [token for token in encoder.encode_row({"text": typed}).labels if token != IGNORED]
    assert any_tokenizer.decode(learnt, clean_up_tokenization_spaces=False) == typed + any_tokenizer.eos_token


@pytest.mark.parametrize("typed", TRICKY.values(), ids=TRICKY)
@pytest.mark.parametrize("max_length", [12, 4096])
def test_previewed_tokens_joined_are_the_decoded_whole_and_never_half_a_character(any_tokenizer, typed, max_length):
    encoder = ChatEncoder(any_tokenizer, max_length)
    for row in ({"messages": chat(typed, typed)}, {"text": typed}):
        uncut = ChatEncoder(any_tokenizer, 4096).encode_row(row)
        tokens = encoder.preview_tokens(row)
        whole = any_tokenizer.decode(uncut.input_ids, clean_up_tokenization_spaces=False)
        assert "".join(token.text for token in tokens) == whole
        assert sum(token.text.count("\ufffd") for token in tokens) == whole.count("\ufffd")
        if "\ufffd" not in typed:
            assert any(token.cut for token in tokens) is (len(uncut.input_ids) > max_length)
        learnt = "".join(token.text for token in tokens if token.trained)
        assert learnt == any_tokenizer.decode([label for label in uncut.labels if label != IGNORED])


def test_characters_of_several_parts_are_shown_as_one_piece(starter_tokenizer):
    parts = ["👩\u200d👩\u200d👧\u200d👦", "👍🏽", "🇩🇪", "🇫🇷", "e\u0301", "龘"]
    encoder = ChatEncoder(starter_tokenizer, 512)
    shown = [token.text for token in encoder.preview_tokens({"text": " ".join(parts)})]
    for part in parts:
        assert [text for text in shown if part in text], part
    assert len(shown) > len(parts)  # and not all in one


def test_words_are_shown_token_by_token():
    tokenizer = make_tokenizer()
    text = "The capital of France is Paris"
    tokens = ChatEncoder(tokenizer, 512).preview_tokens({"text": text})
    ids = tokenizer(text)["input_ids"]
    assert [token.text for token in tokens] == [tokenizer.decode([each]) for each in ids] + ["<|im_end|>"]
    assert all(token.trained and not token.cut for token in tokens)


def test_cut_tokens_are_previewed_too_and_marked():
    tokenizer = make_tokenizer()
    row = {"messages": chat("q", "The capital of France")}
    length = len(ChatEncoder(tokenizer, 512).encode_row(row).input_ids)
    tokens = ChatEncoder(tokenizer, length - 3).preview_tokens(row)
    assert [token.cut for token in tokens] == [False] * (length - 3) + [True] * 3


# ---- plain text ------------------------------------------------------------------------------------------------


def test_text_is_learnt_to_its_end():
    tokenizer = make_tokenizer()
    encoded = ChatEncoder(tokenizer, 512).encode_row({"text": "The capital\n"})
    assert encoded.input_ids == [*tokenizer("The capital\n")["input_ids"], tokenizer.eos_token_id]
    assert encoded.labels == encoded.input_ids
    cut = ChatEncoder(tokenizer, 2).encode_row({"text": "The capital\n"})
    assert (cut.input_ids, cut.cut) == (encoded.input_ids[:2], len(encoded.input_ids) - 2)


def test_text_begins_as_the_tokenizer_begins_texts():
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer(bos="<|im_start|>")
    start = tokenizer.bos_token_id
    assert ChatEncoder(tokenizer, 512).encode_row({"text": "a"}).input_ids[0] != start
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", start)]
    )
    encoded = ChatEncoder(tokenizer, 512).encode_row({"text": "a"})
    assert encoded.input_ids == [start, *tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    assert encoded.labels == [IGNORED, *encoded.input_ids[1:]]


# ---- prompts and pairs -----------------------------------------------------------------------------------------


def test_prompt_alone_is_what_inference_sends_and_carries_no_loss():
    encoder = ChatEncoder(make_tokenizer(), 512)
    encoded = encoder.encode_row({"prompt": chat("What?"), "reference": "x"})
    assert (
        encoded.input_ids
        == encoder.tokenizer.apply_chat_template(chat("What?"), add_generation_prompt=True)["input_ids"]
    )
    assert set(encoded.labels) == {IGNORED}


def test_of_a_pair_the_chosen_answer_alone_is_coloured():
    encoder = ChatEncoder(make_tokenizer(), 512)
    answer = [{"role": "assistant", "content": "good"}]
    row = {
        "prompt": chat("q", "earlier", "q2"),
        "chosen": answer,
        "rejected": [{"role": "assistant", "content": "bad"}],
    }
    spans = read_spans(encoder, row)
    assert [learnt for _, learnt in spans] == [False, True]
    assert "earlier" in spans[0][0]
    assert spans[1][0] == "good<|im_end|>"


# ---- tools -----------------------------------------------------------------------------------------------------

WEATHER = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def call(arguments, name="weather"):
    return {"id": "call00001", "type": "function", "function": {"name": name, "arguments": arguments}}


def tool_chat(*, content="", arguments=None):
    arguments = {"city": "Paris"} if arguments is None else arguments
    return [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": content, "tool_calls": [call(arguments), call({}, "time")]},
        {"role": "tool", "content": "sun", "name": "weather"},
        {"role": "tool", "content": "noon", "name": "time"},
        {"role": "assistant", "content": "It is sunny."},
    ]


CALLS = '<call>{"name": "weather", "arguments": {"city": "Paris"}}</call><call>{"name": "time", "arguments": {}}</call>'


def tool_template(*, thoughts=False):
    return TOOLS.replace("THOUGHTS", str(thoughts).lower())


def test_tools_are_given_to_the_template_and_calls_are_learnt_to_the_end_of_their_turn():
    encoder = ChatEncoder(make_tokenizer(tool_template()), 512)
    row = {"messages": tool_chat(content="Wait. "), "tools": WEATHER}
    spans = read_spans(encoder, row)
    assert json.dumps(WEATHER) in spans[0][0]
    assert [text for text, learnt in spans if learnt] == [f"Wait. {CALLS}<|im_end|>", "It is sunny.<|im_end|>"]
    assert "<tool>sun" in spans[2][0]
    whole = encoder.tokenizer.apply_chat_template(row["messages"], tools=WEATHER, tokenize=False)
    assert "".join(text for text, _ in spans) == whole.rstrip("\n")
    assert encoder.losses(row) == []


def test_calls_are_learnt_where_the_template_writes_earlier_turns_otherwise():
    encoder = ChatEncoder(make_tokenizer(tool_template(thoughts=True)), 512)
    assert trained_text(encoder, tool_chat(), WEATHER) == [
        f"{CALLS}<|im_end|>",
        "<think>\n\n</think>\n\nIt is sunny.<|im_end|>",
    ]


def test_call_that_ends_the_chat_is_learnt():
    encoder = ChatEncoder(make_tokenizer(tool_template()), 512)
    assert trained_text(encoder, tool_chat()[:2], WEATHER) == [f"{CALLS}<|im_end|>"]
    assert encoder.encode_row({"messages": tool_chat()[:2]}).input_ids[-1] == encoder.tokenizer.eos_token_id


def test_arguments_that_are_json_text_are_given_as_the_template_wants_them():
    written = '{"city":"Paris"}'
    encoder = ChatEncoder(make_tokenizer(tool_template()), 512)
    assert trained_text(encoder, tool_chat(arguments=written))[0] == f"{CALLS}<|im_end|>"
    verbatim = tool_template().replace("(call.function | tojson)", "call.function.arguments")
    encoder = ChatEncoder(make_tokenizer(verbatim), 512)
    messages = tool_chat(arguments=written)
    messages[1]["tool_calls"].pop()
    assert trained_text(encoder, messages)[0] == f"<call>{written}</call><|im_end|>"


def test_base_model_without_a_template_is_taught_calls_too():
    encoder = ChatEncoder(make_tokenizer(None), 512)
    row = {"messages": tool_chat(), "tools": WEATHER}
    spans = read_spans(encoder, row)
    learnt = [text for text, learnt in spans if learnt]
    assert '"name": "weather"' in learnt[0]
    assert learnt[0].endswith("<|im_end|>")
    assert learnt[1] == "It is sunny.<|im_end|>"
    assert "### Tool:\nsun" in spans[2][0]
    assert encoder.losses(row) == []


def test_template_without_tools_says_what_it_leaves_out():
    encoder = ChatEncoder(make_tokenizer(CHATML), 512)
    found = encoder.losses({"messages": tool_chat(), "tools": WEATHER})
    assert len(found) == 2
    assert "the available tools" in found[0]
    assert "tool calls" in found[1]
    silent = CHATML.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'tool' %}")
    found = ChatEncoder(make_tokenizer(silent), 512).losses({"messages": tool_chat()})
    assert ["calls" in found[0], "tool results" in found[1], len(found)] == [True, True, 2]
    one_or_the_other = tool_template().replace("{{ m['content'] }}", "{{ '' if m['tool_calls'] else m['content'] }}")
    found = ChatEncoder(make_tokenizer(one_or_the_other), 512).losses({"messages": tool_chat(content="Wait.")})
    assert len(found) == 1
    assert "next to a tool call" in found[0]


def test_chat_without_tools_loses_nothing():
    encoder = ChatEncoder(make_tokenizer("{{ raise_exception('nothing is rendered to find that out') }}"), 512)
    assert encoder.losses({"messages": chat("q", "a")}) == encoder.losses({"text": "x"}) == []


REASONING = TOOLS.replace(
    "{{ '<tool>' if",
    "{% if m['reasoning_content'] %}{{ '<think>' + m['reasoning_content'] + '</think>' }}{% endif %}{{ '<tool>' if",
)


def test_reasoning_is_learnt_with_its_answer_where_the_template_knows_it():
    encoder = ChatEncoder(make_tokenizer(REASONING), 512)
    messages = [*chat("q", "Red."), *chat("r", "Blue.")]
    messages[1]["reasoning_content"] = "Red. Or blue?"  # which has the answer in it
    messages[3]["reasoning_content"] = "Blue. Or red?"
    assert trained_text(encoder, messages) == [
        "<think>Red. Or blue?</think>Red.<|im_end|>",
        "<think>Blue. Or red?</think>Blue.<|im_end|>",
    ]
    assert encoder.losses({"messages": messages}) == []


def test_reasoning_that_the_template_leaves_out_is_said_of_chats_and_pairs():
    encoder = ChatEncoder(make_tokenizer(CHATML), 512)
    asked, answered = chat("q", "Red.")
    thought = {**answered, "reasoning_content": "Hm."}
    says = ["The chat template of this base model leaves out reasoning, so it is not trained."]
    assert encoder.losses({"messages": [asked, thought]}) == says
    assert encoder.losses({"prompt": [asked], "chosen": [thought], "rejected": [answered]}) == says
    assert trained_text(encoder, [asked, thought]) == ["Red.<|im_end|>"]


def test_call_that_the_template_leaves_out_is_not_learnt_as_an_empty_answer():
    encoder = ChatEncoder(make_tokenizer(CHATML), 512)
    assert trained_text(encoder, tool_chat()) == ["It is sunny.<|im_end|>"]
    assert set(encoder.encode_row({"messages": tool_chat()[:2]}).labels) == {IGNORED}
    assert "Weather?" in read_spans(encoder, {"messages": tool_chat()[:2]})[0][0]


@pytest.mark.parametrize("fault", ["{{ 'a' + 1 }}", "{{ messages[9].content.x }}", "{{ raise_exception('no') }}"])
def test_template_that_stumbles_over_a_chat_is_a_clear_error(fault):
    with pytest.raises(DatasetError, match="chat template rejects") as caught:
        ChatEncoder(make_tokenizer(fault), 512).encode_row({"messages": tool_chat(), "tools": WEATHER})
    assert "tools" in caught.value.fix


# ---- counting --------------------------------------------------------------------------------------------------


def test_texts_are_counted_as_one_by_one(monkeypatch):
    from modelforge.data import encode

    encoder = ChatEncoder(make_tokenizer(), 512)
    texts = ["", *SENTENCES, *TRICKY.values()]
    expected = [len(encoder.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    assert encoder.count_tokens(texts) == expected
    monkeypatch.setattr(encode, "_CHARACTERS_AT_ONCE", 20)
    assert encoder.count_tokens(texts) == expected
    assert encoder.count_tokens([]) == []

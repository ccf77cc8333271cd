"""OpenAI's own client gets its answers and its errors from the server."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import openai
import pytest

from speechllama.serve.answer import FORMATS
from speechllama.serve.form import FIELDS
from test.serve.conftest import BROKEN, ENDLESS, NAME, REFUSED, Running, error_of, fetch, form, post, tone

pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the client's, of translations
Start = Callable[..., Running]
ASR = {"task_name": "asr"}
WAV = ("a.wav", tone(440))
SRT = "1\n00:00:00,000 --> 00:00:00,500\n440 Hz\n\n"
VTT = "WEBVTT\n\n00:00:00.000 --> 00:00:00.500\n440 Hz\n\n"


@pytest.mark.parametrize("container", ["WAV", "FLAC", "MP3", "OGG"])
def test_a_translation_is_written(server: Running, container: str) -> None:
    file = (f"a.{container.lower()}", tone(440, container=container))
    assert server.client().audio.translations.create(file=file, model=NAME).text == "440 Hz"


def test_a_transcript_is_written(start: Start) -> None:
    answer = (
        start(settings=ASR).client().audio.transcriptions.create(file=WAV, model=NAME, language="de", temperature=0)
    )
    assert answer.text == "440 Hz"


@pytest.mark.parametrize(("response_format", "expected"), [("text", "440 Hz\n"), ("srt", SRT), ("vtt", VTT)])
@pytest.mark.parametrize("task", ["st", "asr"])
def test_texts_and_subtitles_are_written(start: Start, task: str, response_format: Any, expected: str) -> None:
    audio = start(settings={"task_name": task}).client().audio
    endpoint: Any = audio.translations if task == "st" else audio.transcriptions
    assert endpoint.create(file=WAV, model=NAME, response_format=response_format) == expected


@pytest.mark.parametrize("task", ["cot", "joint"])
def test_a_model_of_two_tasks_answers_at_both_endpoints(start: Start, task: str) -> None:
    running = start(settings={"task_name": task})
    audio, languages = running.client().audio, {}
    for endpoint, asked in (("translations", "st"), ("transcriptions", "asr")):
        running.translator.tasks.clear()
        create: Any = getattr(audio, endpoint).create
        answer = create(file=WAV, model=NAME, response_format="verbose_json", extra_body={"language": "de"})
        assert running.translator.tasks == {asked}
        languages[endpoint] = (answer.language, answer.model_extra["task"])
    assert languages == {"translations": ("english", "translate"), "transcriptions": ("german", "transcribe")}


def test_verbose_json_has_segments_with_times(start: Start) -> None:
    client = start(settings=ASR).client()
    file = ("a.wav", tone(440, 5.0))
    answer = client.audio.transcriptions.create(
        file=file, model=NAME, response_format="verbose_json", language="de", timestamp_granularities=["segment"]
    )
    assert (answer.language, answer.duration) == ("german", 5.0)
    assert answer.segments is not None and len(answer.segments) == 3
    assert answer.text == "440 Hz 440 Hz 440 Hz"
    assert [segment.id for segment in answer.segments] == [0, 1, 2]
    ends = [segment.end for segment in answer.segments]
    assert [segment.start for segment in answer.segments] == [0.0, *ends[:-1]] and ends[-1] == 5.0
    first = answer.segments[0]
    assert (first.text, first.tokens, first.avg_logprob, first.temperature) == ("440 Hz", [440], -0.5, 0.0)
    assert first.no_speech_prob is None  # nothing measures it


def test_a_translation_says_which_language_it_is_written_in(server: Running) -> None:
    answer = server.client().audio.translations.create(file=WAV, model=NAME, response_format="verbose_json")
    assert (answer.language, answer.model_extra) == ("english", {"task": "translate"})


def test_a_model_of_several_targets_is_asked_for_one(start: Start) -> None:
    running = start(settings={"task_name": "joint", "prompt_conf": {"targets": ["de", "en"]}})
    audio = running.client().audio
    fields: Any = {"file": WAV, "model": NAME, "response_format": "verbose_json"}
    answer = audio.translations.create(**fields, extra_body={"target_language": "de"})
    assert answer.language == "german" and running.translator.targets == {"de"}
    assert audio.translations.create(**fields).language == "english" and running.translator.targets == {"de", ""}
    for endpoint, code, message in (
        ("translations", "fr", "target_language 'fr': this model writes de, en"),
        ("transcriptions", "de", "target_language: a transcript is in the language of the speech; leave it out"),
    ):
        with pytest.raises(openai.APIStatusError, match=message) as caught:
            getattr(audio, endpoint).create(**fields, extra_body={"target_language": code})
        assert error_of(caught) == (400, "target_language", None)


@pytest.mark.parametrize(("response_format", "expected"), [("text", "\n"), ("srt", ""), ("vtt", "WEBVTT\n\n")])
def test_silence_has_no_text(server: Running, response_format: Any, expected: str) -> None:
    create = server.client().audio.translations.create
    assert create(file=("a.wav", tone(0)), model=NAME).text == ""
    assert create(file=("a.wav", tone(0)), model=NAME, response_format=response_format) == expected


@pytest.mark.parametrize("response_format", ["json", "text", "srt", "vtt", "verbose_json"])
def test_a_cut_text_is_said_in_a_header_and_in_the_log(
    server: Running, response_format: Any, caplog: pytest.LogCaptureFixture
) -> None:
    create = server.client().audio.translations.with_raw_response.create
    answer = create(file=WAV, model=NAME, response_format=response_format)
    assert "x-is-cut" not in answer.headers and "was cut" not in caplog.text
    answer = create(file=("b\n.wav", tone(ENDLESS)), model=NAME, response_format=response_format)
    assert answer.headers["x-is-cut"] == "true" and f"{ENDLESS} Hz" in answer.text
    assert ".wav': 0.0 to 0.5 s: the text was cut at max_tokens 1" in caplog.text


@pytest.mark.parametrize(
    ("fields", "expected", "message"),
    [
        (
            {"model": "whisper-1"},
            (404, "model", "model_not_found"),
            "unknown model 'whisper-1'; this server has 'tones'",
        ),
        ({"model": ""}, (400, "model", None), "no model; expected a field `model` with 'tones'"),
        (
            {"response_format": "docx"},
            (400, "response_format", None),
            "unknown response_format 'docx', expected one of",
        ),
        ({"temperature": 0.5}, (400, "temperature", None), "temperature '0.5': the text is searched, not sampled"),
        ({"prompt": "Dear"}, (400, "prompt", None), "the model's own prompt is that of its training"),
        ({"extra_body": {"language": "xx"}}, (400, "language", None), "unknown language 'xx'"),
        (
            {"extra_body": {"target_language": "de"}},
            (400, "target_language", None),
            "target_language 'de': this model writes en",
        ),
        (
            {"extra_body": {"stream": "true"}},
            (400, "stream", None),
            "unknown field 'stream'; expected some of file, mo",
        ),
        ({"file": ("bad.mp3", b"nothing")}, (400, "file", "bad_audio"), "bad.mp3: "),
        ({"file": ("empty.wav", b"")}, (400, "file", "bad_audio"), "empty.wav: the recording is empty"),
        ({"file": ("half.wav", tone(440)[:4000])}, (400, "file", "bad_audio"), "half.wav: truncated"),
        ({"file": ("b.wav", tone(REFUSED))}, (400, "file", "bad_audio"), r"b\.wav: 0\.5 s of audio is too short"),
        ({"file": ("no.wav", tone(BROKEN))}, (500, None, "decoding_failed"), r"decoding failed \(RuntimeError\)"),
    ],
)
def test_what_is_wrong_is_said(
    server: Running, fields: dict[str, Any], expected: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(openai.APIStatusError, match=message) as caught:
        create: Any = server.client().audio.translations.create
        create(**{"file": WAV, "model": NAME, "extra_body": {}, **fields})
    assert error_of(caught) == expected
    kind = "server_error" if expected[0] >= 500 else "invalid_request_error"
    assert caught.value.type == kind
    assert "/dev/fd" not in str(caught.value)


def test_a_prompt_that_names_the_language_needs_it(start: Start) -> None:
    running = start(settings={"task_name": "asr", "needs_language": True})
    client = running.client()
    assert client.audio.transcriptions.create(file=WAV, model=NAME, language="de").text == "440 Hz"
    assert running.translator.languages == {"de"}
    with pytest.raises(openai.BadRequestError, match="the prompt needs a language") as caught:
        client.audio.transcriptions.create(file=WAV, model=NAME)
    assert error_of(caught) == (400, "language", None)


def test_a_model_does_only_what_it_was_trained_for(start: Start) -> None:
    for task, other in (("st", "transcriptions"), ("asr", "translations")):
        with pytest.raises(
            openai.BadRequestError, match=f"tones does not answer /v1/audio/{other}; it was tr"
        ) as caught:
            getattr(start(settings={"task_name": task}).client().audio, other).create(file=WAV, model=NAME)
        assert error_of(caught) == (400, "model", "wrong_endpoint")


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        ("application/json", b"{}", "expected a multipart/form-data body, found content-type 'application/json'"),
        ("multipart/form-data", b"", "the form cannot be read: Missing boundary"),
        ("multipart/form-data; boundary=x", b"nothing", "the form cannot be read"),
        ("multipart/form-data; boundary=x", form(('name="model"', b"tones")), "no file; expected a field `file`"),
        ("multipart/form-data; boundary=x", form(('name="file"', tone(440))), "Part exceeded"),
        ("multipart/form-data; boundary=x", form(*[('name="model"', b"tones")] * 2), "model is given 2 times"),
        ("multipart/form-data; boundary=x", form(*[('name="file"; filename="a"', b"")] * 2), "Too many files"),
    ],
)
def test_a_body_that_is_no_form_is_refused(server: Running, kind: str, body: bytes, message: str) -> None:
    status, answer = post(server.url, body, kind)
    assert status == 400 and message in answer["message"]


def test_the_one_model_is_listed(server: Running) -> None:
    assert [model.id for model in server.client().models.list()] == [NAME]
    assert server.client().models.retrieve(NAME).object == "model"
    with pytest.raises(openai.NotFoundError):
        server.client().models.retrieve("other")


def test_the_description_has_every_field_that_is_read(server: Running) -> None:
    described = fetch(f"{server.url}/openapi.json")[1]["paths"]["/v1/audio/translations"]["post"]["requestBody"]
    form = described["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file", "model"] and set(form["properties"]) == set(FIELDS)
    assert form["properties"]["response_format"]["enum"] == [*FORMATS]


def test_a_page_that_is_not_there_has_an_error_of_the_same_shape(server: Running) -> None:
    assert fetch(f"{server.url}/v1/nothing") == (
        404,
        {"error": {"message": "Not Found", "type": "invalid_request_error", "param": None, "code": None}},
    )


def test_without_the_key_nothing_is_answered(start: Start) -> None:
    running = start(api_key="secret")
    assert running.client("secret").audio.translations.create(file=WAV, model=NAME).text == "440 Hz"
    stranger = running.client("wrong")
    calls = (stranger.models.list, functools.partial(stranger.audio.translations.create, file=WAV, model=NAME))
    for call in calls:
        with pytest.raises(openai.AuthenticationError, match="wrong or no API key") as caught:
            call()
        assert error_of(caught) == (401, None, "invalid_api_key")
    assert fetch(f"{running.url}/health")[0] == 200

"""Conditions on the index: what pandas answers, and nothing but conditions."""

import contextlib
import sys
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.errors import UsageError
from sharding.format.index import Row, build_index, decode_index, encode_index, select
from sharding.format.origin import Origin
from sharding.limits import MAX_WHERE_CHARS, MAX_WHERE_WORDS


def make_frame():
    frame = build_index(
        [
            Row(
                key=f"{number % 3:04d}_{number:02d}",
                shard="s",
                height=100 * number,
                width=(500, 40_000)[number % 2],
                origin=Origin(scene=f"{number % 3:04d}", scene_type=("indoors", "outdoor", "")[number % 3]),
            )
            for number in range(12)
        ]
    )
    frame["depth_min"] = np.where(np.arange(12) % 4 == 0, np.nan, np.arange(12) / 4).astype(np.float32)
    frame["day"] = np.arange(12) % 5 == 0
    return frame


FRAME = make_frame()
STORED = decode_index(encode_index(FRAME), "index.parquet")


def rows(where, frame=FRAME):
    try:
        return list(select(frame, where).index)
    except UsageError as error:
        if "selects none of" in str(error):
            return []
        raise


def test_a_number_without_a_sign_is_negated_as_one_with():
    frame = FRAME.assign(code=np.arange(12, dtype=np.uint32))
    assert rows("-code < 0", frame) == list(range(1, 12))
    assert rows("-code == -3", frame) == rows("-depth_min == -0.75", frame) == [3]


EXPECTED = {
    "scene_type == 'outdoor'": [1, 4, 7, 10],
    'scene_type == "outdoor" and height > 500': [7, 10],
    "height > 500": [6, 7, 8, 9, 10, 11],
    "scene in ['0001', '0002']": [1, 2, 4, 5, 7, 8, 10, 11],
    "scene not in ('0001', '0002')": [0, 3, 6, 9],
    "key.str.startswith('0001_')": [1, 4, 7, 10],
    "key.str.endswith('1')": [1, 11],
    "key.str.contains('1_0')": [1, 4, 7],
    "key.str.contains('1_.', regex=False)": [],
    "depth_ext != ''": [],
    "kind == ''": [],
    "300 < height <= 500": [4, 5],
    "height == 300 | height == 400 & width == 500": [3, 4],
    "not height > 200": [0, 1, 2],
    "~(height > 200) & ~(width == 500)": [1],
    "index < 2": [0, 1],
    "index % 5 == 0 or day": [0, 5, 10],
    "day != True": [1, 2, 3, 4, 6, 7, 8, 9, 11],
    "height * width > 40e6": [11],  # 44,000,000 overflows no 32 bits, 1100 * 40,000
    "height * width * 100 > 2**31": None,
    "height * width * 100 > 4e9": [11],  # 4.4e9 would overflow 32 bits
    "height / 0 > 0": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    "-height < -1000": [11],
    "height in [-100, 300, 400.0, 1e99, 2.5, 99999999999]": [3, 4],
    "depth_min in [0.25, 0.75]": [1, 3],
    "depth_min != depth_min": [0, 4, 8],
    "not depth_min > 0.5": [0, 1, 2, 4, 8],
    "scene < '0001'": [0, 3, 6, 9],
    "(height > 300) == (width > 500)": [0, 2, 5, 7, 9, 11],
    "scene == 'it''s'": None,
    " height > 1000 \n": [11],
    "\uff48eight > 1000": [11],  # Python's parser normalises names (NFKC)
}


@pytest.mark.parametrize("where", EXPECTED)
@pytest.mark.parametrize("frame", [FRAME, STORED], ids=["made", "read"])
def test_conditions_select_what_they_say(where, frame):
    if frame is STORED and "day" in where:
        pytest.skip("a file has the columns of an index alone")
    if EXPECTED[where] is None:
        with pytest.raises(UsageError):
            rows(where, frame)
    else:
        assert rows(where, frame) == EXPECTED[where]


NUMBERS = st.sampled_from(["height", "width", "depth_min", "index"])
TEXTS = st.sampled_from(["scene", "scene_type", "key"])
NUMBER_VALUES = st.sampled_from(["0", "1", "500", "-100", "0.5", "2.25", "40_000", "1e3"])
TEXT_VALUES = st.sampled_from(["''", "'0001'", '"outdoor"', "'0002_11'", "'it is'"])
ORDER = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
WITHIN = st.sampled_from(["in", "not in"])


def listed(values):
    return st.lists(values, min_size=1, max_size=4).map(lambda found: f"[{', '.join(found)}]")


SUMS = st.builds("{} {} {}".format, NUMBERS, st.sampled_from("+-*"), NUMBER_VALUES)
COMPARISONS = st.one_of(
    st.builds("{} {} {}".format, NUMBERS, ORDER, NUMBER_VALUES),
    st.builds("{} {} {}".format, TEXTS, ORDER, TEXT_VALUES),
    st.builds("{} {} {}".format, NUMBERS, ORDER, NUMBERS),
    st.builds("{} {} {}".format, SUMS, ORDER, NUMBER_VALUES),
    st.builds("{} {} {}".format, TEXTS, ORDER, TEXTS),
    st.builds("{} {} {} {} {}".format, NUMBER_VALUES, ORDER, NUMBERS, ORDER, NUMBER_VALUES),
    st.builds("{} {} {}".format, NUMBERS, WITHIN, listed(NUMBER_VALUES)),
    st.builds("{} {} {}".format, TEXTS, WITHIN, listed(TEXT_VALUES)),
    st.builds("{}.str.{}({})".format, TEXTS, st.sampled_from(["startswith", "endswith", "contains"]), TEXT_VALUES),
    st.just("day"),
)
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.builds("({}) {} ({})".format, inner, st.sampled_from(["and", "or", "&", "|"]), inner),
        st.builds("{} {} {}".format, COMPARISONS, st.sampled_from(["and", "or", "&", "|"]), COMPARISONS),
        st.builds("{}({})".format, st.sampled_from(["not ", "~"]), inner),
    ),
    max_leaves=8,
)


@settings(max_examples=120, deadline=None)
@given(where=CONDITIONS)
def test_results_are_those_of_pandas(where):
    chosen = FRAME.eval(where, local_dict={}, global_dict={}, engine="python").astype(bool)
    assert rows(where) == list(FRAME.index[chosen])


REFUSED = {
    "9**9**9": "'**' is not understood",
    "@io.open('canary','w')": "'@' is not understood",
    "key.to_csv('canary')": "expected no other calls and attributes than",
    'key.map(\'open("canary", "w")\'.__class__)': "expected no other calls",
    "__import__('os').system('touch canary')": "expected no other calls",
    "key.str.contains('(a+)+$')": "finds plain text, no regular expression; for '(a+)+$' as it stands",
    "key.str.contains('a|b')": "for one of several texts, join such conditions with or",
    "key.str.len() > 3": "expected no other calls",
    "key.str.startswith('0', na=True)": "takes a text and no options",
    "key.str.startswith(key)": "takes one text",
    "height.str.startswith('1')": "expected text, found height, which is a number",
    "key.str": "expected no other calls and attributes",
    "scene_type == outdoor": "outdoor is no column; if it is a value of scene_type, quote it: scene_type == 'outdoor'",
    "outdoor == scene_type": "quote it: scene_type == 'outdoor'",
    "height > 3 and scene_type in [outdoor]": "quote it: scene_type == 'outdoor'",
    "hight > 3": "no column named hight; did you mean height?",
    "columns": "no column named columns; there are day, depth_ext",
    "scene == 22": "scene is text, so compare it with text such as '0000'",
    "22 == scene": "scene is text, so compare it with text such as '0000'",
    "scene in ['0001', 2]": "scene is text, so compare it with text",
    "height > '500'": "height is a number, so compare it with a number such as 0",
    "height == True": "height is a number",
    "day > False": "expected a number, found day, which is true or false",
    "height": "expected a condition on each sample, such as height > 500, found height, which is a number",
    "height > 3 and width": "found width, which is a number",
    "height & width": "found height, which is a number",
    "~height > 3": "found height, which is a number",
    "True": "found True, which is the same for all samples",
    "3 < 4": "3 and 4 are no columns",
    "scene + 'a' == 'b'": "expected a number, found scene, which is text",
    "scene == None": "None is no value of the index",
    "height is 3": "write == or != instead of is",
    "scene == ['0001']": "a list stands only after in",
    "'0001' in scene": "in takes a list of values",
    "scene in ['0001' '0002']": "expected a comma or an operator before '0002', found none",
    "height = 3": "not a condition",
    "height >": "not a condition (invalid syntax)",
    "scene == 'a": "not a condition (unterminated string literal",
    "`height` > 3": "not a condition",
    "height > 3 # big": "not a condition",
    "height > 3\nwidth > 3": "expected one line",
    "height > 3; import os": "';' is not understood",
    "f'{key}' == scene": "is not understood",
    "b'0001' == scene": "is not understood",
    "(x := 3) > height": "':=' is not understood",
    "[h for h in height]": "'for' is not understood",
    "lambda: 1": "'lambda' is not understood",
    "height[0] > 3": "height[0] is no part of a condition",
    "height > 3j": "3j is no part of a condition",
    "height > 1" + 30 * "0": "a number of more than 64 bits",
    "height > 1" + 5000 * "0": "is not understood",
    "height\0 > 3": "not a condition",
    "'\udc80' == scene": "surrogates not allowed",
    r"scene == '\ud800'": "contains half a character",
    "": "expected a condition, found nothing",
    "x" * 10**6: f"1000000 characters; at most {MAX_WHERE_CHARS} are read",
    "height > 3 and " * MAX_WHERE_WORDS + "day": f"at most {MAX_WHERE_WORDS} are read",
    "(" * 150 + "height > 3" + ")" * 150 + " or ": "not a condition",
    "(" * 5000 + "day" + ")" * 5000: "--where",  # too many names and operators, or nested too deeply for the parser
    "not " * 1500 + "day": "nested too deeply",
    "-" * 1500 + "height > 3": "nested too deeply",
    "height" + " + 1" * 900 + " > 3": "nested too deeply",
    "key" + ".str" * 900: "nested too deeply",
}


@pytest.mark.parametrize("where", REFUSED, ids=[str(number) for number in range(len(REFUSED))])
def test_what_is_no_condition_is_refused_at_once_and_runs_nothing(where, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = time.monotonic()
    with pytest.raises(UsageError) as caught:
        select(FRAME, where)
    assert time.monotonic() - start < 2
    text = str(caught.value)
    assert REFUSED[where] in text
    assert text.startswith("--where ")
    assert "\n" not in text
    assert len(text) < 1500
    assert not list(tmp_path.iterdir())


def test_a_condition_is_text():
    with pytest.raises(UsageError, match=r"--where: expected text such as .*, found bool"):
        select(FRAME, True)


def test_long_lists_of_keys_are_taken():
    keys = [f"0001_{number:06d}" for number in range(3000)]
    assert rows(f"key in {[*keys, '0000_03']}") == [3]


def test_missing_text_is_unequal_and_no_match():
    """As in pandas."""
    frame = FRAME.copy()
    frame.loc[[1, 2], "scene"] = np.nan
    assert rows("scene == '0001'", frame) == [4, 7, 10]
    assert rows("scene != '0001' and height <= 300", frame) == [0, 1, 2, 3]
    assert rows("scene.str.startswith('0001')", frame) == [4, 7, 10]
    assert rows("scene in ['0002']", frame) == [5, 8, 11]


@pytest.mark.parametrize("column", [pd.to_datetime(["2020-01-01"] * 12), [{}] * 12, pd.Categorical([1] * 12)])
def test_other_columns_are_refused(column):
    with pytest.raises(UsageError, match="column strange holds neither text nor numbers"):
        rows("strange == 'a'", FRAME.assign(strange=column))


HEARD, LISTENING = [], []
RUNS = ("exec", "os.system", "os.exec", "subprocess.Popen", "open", "import", "socket.connect", "pickle.find_class")


def listen(event, _):
    if LISTENING and event in RUNS:
        HEARD.append(event)


sys.addaudithook(listen)  # stays, and says nothing unless a test listens


@contextlib.contextmanager
def running_nothing():
    """Fail if Python executes code, opens a file, imports or starts anything in the block."""
    HEARD.clear()
    LISTENING.append(True)
    try:
        yield
    finally:
        LISTENING.clear()
    assert HEARD == []


PYTHON = st.sampled_from(
    "key height scene day index str . .str .map .to_csv .__class__ ( ) (( )) [ ] { } , : = == != < > + - * ** / // % "
    "@ ~ & | ^ and or not in is if else for lambda yield await None True 9 0x9 9e9 1_0 'a' '0001' b'a' f'{key}' eval "
    "open __import__ 'canary' ; # \\ ` ! ? $ \n \t \0 \udc80 \xe9 \uff48 \uff12".split(" ")
)
HARM = st.sampled_from(["@open('canary', 'w')", "key.map(eval)", "__import__('os').system('touch canary')", "9**9**9"])
ANY_TEXT = st.one_of(
    st.text(max_size=60),
    st.lists(PYTHON, max_size=25).map(" ".join),
    st.lists(PYTHON, max_size=25).map("".join),
    st.builds("{} {} {}".format, CONDITIONS, st.sampled_from(["and", "|", "==", "in", ","]), HARM),
)


@settings(max_examples=150, deadline=None)
@given(where=ANY_TEXT)
def test_any_text_is_a_condition_or_refused_in_a_line(where):
    with running_nothing():
        try:
            found, said = select(FRAME, where), ""
        except UsageError as error:
            found, said = None, str(error)
    assert (found is None) == said.startswith("--where ")
    assert "\n" not in said
    assert len(said) < 1500
    assert found is None or 0 < len(found) <= len(FRAME)


@pytest.mark.filterwarnings("ignore")
def test_the_proof_that_nothing_runs_hears_what_pandas_runs(tmp_path):
    io = __import__("io")
    with pytest.raises(AssertionError), running_nothing():
        FRAME.eval(f"@io.open('{tmp_path}/canary', 'w') == height", local_dict={"io": io})
    assert (tmp_path / "canary").exists()

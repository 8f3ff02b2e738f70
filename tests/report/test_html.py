import json

from hypothesis import given
from hypothesis import strategies as st

from steepest.report.html import Html, element, script_json


def test_text_and_attributes_are_escaped() -> None:
    made = element("td", "<script>alert(1)</script>", title='" onclick="x', data_sort="<")
    assert "<script" not in made and 'onclick="' not in made.replace("&quot;", "")
    assert made.startswith('<td title="&quot; onclick=&quot;x" data-sort="&lt;">')


def test_only_markup_passes_through() -> None:
    assert element("p", Html("<b>x</b>"), ["<i>", None, 3]) == "<p><b>x</b>&lt;i&gt;3</p>"


def test_void_elements_have_no_end() -> None:
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert element("meta", name="viewport", hidden=False) == '<meta name="viewport">'


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner), max_leaves=5))
def test_script_data_reads_back_and_cannot_end_its_element(value: object) -> None:
    text = script_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_script_data_has_no_nan() -> None:
    assert script_json({"a": [float("nan"), float("inf"), 1.5]}) == '{"a":[null,null,1.5]}'

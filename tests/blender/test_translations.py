"""Texts of the interface in Blender's own language."""

import re

import pytest
from interface_texts import interface_texts

from blender_trellis import translations
from blender_trellis.translations.sentences import PLACE, Sentences

NAMED = re.compile(r"\{[a-z]+\}")


@pytest.mark.parametrize("language", ["ja_JP", "zh_HANS"])
def test_every_text_of_the_interface_is_translated(language):
    wanted, known = interface_texts(), translations.texts(language)
    assert len(wanted) > 300
    missing = {text: file for text, file in wanted.items() if not known.get(text)}
    assert not missing
    assert not known.keys() - wanted.keys()  # of texts that are no more


@pytest.mark.parametrize("language", ["ja_JP", "zh_HANS"])
def test_translations_hold_the_same_values_and_letters_of_their_script(language):
    script = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
    for text, said in translations.texts(language).items():
        assert sorted(PLACE.findall(said)) == sorted(PLACE.findall(text)), text
        assert sorted(NAMED.findall(said)) == sorted(NAMED.findall(text)), text
        if len(re.findall(r"[a-z]{2,}", NAMED.sub("", text))) > 2:
            assert script.search(said), text


def test_sentences_with_values_find_the_pattern_that_says_most():
    said = Sentences(
        {
            "{0} splats saved": "保存了 {0} 个",
            "{0}: {1}": "{0}：{1}",
            'The file "{0}" is {1}: choose another one.': "“{0}”是{1}：请另选。",
            "damaged": "损坏的",
            "Finding the shape": "正在求形状",
        }
    )
    assert said.translated("1,204 splats saved") == "保存了 1,204 个"
    assert said.translated('The file "a: b" is damaged: choose another one.') == "“a: b”是损坏的：请另选。"
    assert said.translated("Finding the shape 3/25") == "正在求形状 3/25"
    assert said.translated("something else") == "something else"

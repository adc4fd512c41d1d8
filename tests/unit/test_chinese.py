# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The Chinese pages: their checker with its rules and the words of the glossary, and the messages that they quote."""

from __future__ import annotations

import re

import pytest
from pyweb_scripts import CHECKOUT, load_script

chinese = load_script("chinese")
GLOSSARY = "| a | b | c | d |\n|---|---|---|---|\n| deploy | 部署 | 布署、安放 | x |\n| site | 网站 | - | y |\n"


def found(text: str) -> list[tuple[int, str]]:
    return [(line, remedy) for line, _piece, remedy in chinese.findings_in(text, chinese.wrong_words(GLOSSARY))]


@pytest.mark.parametrize(
    ("wrong", "right", "remedy"),
    [
        ("部署,然后检查", "部署\uff0c然后检查", "write the punctuation mark in full width"),
        ("部署完成.", "部署完成\u3002", "end the sentence with a full-width stop"),
        ("部署(首次)", "部署\uff08首次\uff09", "write the parenthesis in full width"),
        ("运行nginx", "运行 nginx", "write a space between Chinese and Latin words"),
        ("运行`site.yml`", "运行 `site.yml`", "write a space between Chinese and Latin words"),
        ("见[入门](a.md)页5", "见[入门](a.md)页 5", "write a space between Chinese and Latin words"),
        ("部署\uff0c nginx", "部署\uff0cnginx", "write no space beside a full-width punctuation mark"),
        ("部署 应用", "部署应用", "write no space between Chinese characters"),
        ("部署\n应用", "部署\n\n应用", "write the paragraph on one line"),
        ("**部署\u3002**应用", "**部署**\u3002应用", "write the punctuation mark after the bold text"),
        ("布署应用", "部署应用", "write 部署, as the glossary does"),
        ("安放应用", "部署应用", "write 部署, as the glossary does"),
    ],
)
def test_each_rule_finds_its_example_and_leaves_the_other(wrong: str, right: str, remedy: str) -> None:
    assert found(f"# 标题\n\n{wrong}\n") == [(3, remedy)]
    assert found(f"# 标题\n\n{right}\n") == []


@pytest.mark.parametrize(
    "text",
    [
        "```\n部署,nginx\n```\n",
        "    部署,nginx\n",
        "见 `部署,nginx`\n",
        "| 部署\u3002 | 应用\u3002 |\n|---|---|\n| 检查\u3002 | `a`\u3002 |\n",
        "- 部署\u3002\n- 应用\u3002\n",
        "<!-- 部署,nginx -->\n",
    ],
)
def test_code_and_tables_are_left(text: str) -> None:
    assert found(text) == []


def test_the_pages_have_no_findings() -> None:
    assert chinese.main([]) == 0


def test_a_finding_changes_the_exit_status(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chinese, "PAGES", ("tests/unit/test_chinese.py",))
    assert chinese.main([]) == 1
    assert "tests/unit/test_chinese.py:" in capsys.readouterr().out


# Messages that Ansible prints, or that are a part of another message there.
FOREIGN = {"undecryptable variable", "UNREACHABLE!", "Missing sudo password", "Could not match supplied host pattern"}


def quoted_messages() -> set[str]:
    """The messages in the first column of tables about messages."""
    found = set()
    for path in (CHECKOUT / "docs" / "zh").glob("*.md"):
        for table in re.findall(r"^\| 信息(?:片段)? \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", path.read_text(), re.MULTILINE):
            for row in table.splitlines():
                found |= {*re.findall(r"`([^`]+)`", row.split(" | ")[0])}
    return found


def printed() -> str:
    """The text of the code, with each message that is several literals put together."""
    files = [*(CHECKOUT / "plugins").rglob("*.py"), *(CHECKOUT / "playbooks").rglob("*.yml")]
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text() for path in sorted(files)))


CODE = printed()


@pytest.mark.parametrize("message", sorted(quoted_messages() - FOREIGN))
def test_a_quoted_message_is_in_the_code(message: str) -> None:
    """The longest piece of the message without its example values."""
    piece = max(re.split(r"'[^' ]+'|\d+|apache2|/", message), key=len).strip()
    assert piece in CODE, f"docs/zh quotes {message!r}, which no code prints"


def test_messages_are_found_at_all() -> None:
    assert len(quoted_messages()) > 50
    assert quoted_messages() > FOREIGN

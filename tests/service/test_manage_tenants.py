"""`manage.py tenant`: what it prints and what it changes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from command_line import ADD, Fail, Look, Run, read_terminal
from command_line import fail as fail
from command_line import look as look
from command_line import run as run
from preloaded import ROOT
from service.store.records import Access


def test_the_snippet_has_the_services_public_url(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 'src="http://127.0.0.1:8000/widget.js"' in run(*ADD)
    monkeypatch.setenv("PORT", "9000")
    assert 'src="http://127.0.0.1:9000/widget.js"' in run("tenant", "add", "local", *ADD[3:])
    monkeypatch.setenv("PUBLIC_URL", "https://chat.example.com/chat/ http://chat.intranet")
    assert 'src="https://chat.example.com/chat/widget.js"' in run("tenant", "add", "other", *ADD[3:])
    text = run("tenant", "add", "third", *ADD[3:], "--url", "https://other.example")
    assert 'src="https://other.example/widget.js"' in text


def test_a_new_tenants_snippet_is_ready_to_paste(run: Run, look: Look) -> None:
    text = run(*ADD, "--url", "https://chat.example.com/")

    snippet = re.search(
        r'<script src="https://chat\.example\.com/widget\.js" async\n'
        r'        data-api-key="(a4_pub_[\w-]+)" data-widget-id="(wgt_[\w-]+)"></script>',
        text,
    )
    assert snippet is not None
    assert "This key is shown once" in text
    assert "public" in text
    access: Access = look(lambda store: store.find_access(snippet[1]))
    assert (access.tenant.name, access.tenant.origins) == ("shop", ["https://shop.test"])
    assert look(lambda store: store.find_widget(snippet[2])) is not None


def test_a_new_tenant_as_json_has_four_fields(run: Run) -> None:
    facts = json.loads(run(*ADD, "--json"))

    assert list(facts) == ["tenant", "widget_id", "api_key", "snippet"]
    assert facts["tenant"] == "shop"
    assert facts["snippet"] == (
        '<script src="http://127.0.0.1:8000/widget.js" async\n'
        f'        data-api-key="{facts["api_key"]}" data-widget-id="{facts["widget_id"]}"></script>'
    )


@pytest.mark.each_database
def test_every_setting_reaches_the_tenant_and_its_widget(run: Run, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Sell bücher.\n", encoding="utf-8")
    (tmp_path / "look.json").write_text(json.dumps({"sound": True, "followUps": ["More?"], "title": "Is overruled"}))
    run(
        *ADD,
        *("--origin", "https://BÜCHER.test/", "--rate-per-minute", "10", "--visitor-rate-per-minute", "0"),
        *("--tokens-per-day", "5000", "--model", "large", "--system-prompt-file", "prompt.txt"),
        *("--openai-key-env", "SHOP_KEY", "--title", "Shop 🎉", "--greeting", "Hi", "--placeholder", "Ask"),
        *("--temperature", "0.3", "--max-answer-tokens", "500", "--visitor-streams", "3"),
        *("--openai-base-url-env", "SHOP_URL", "--look", "look.json"),
        *("--color", "#1a6b54", "--position", "bottom-left", "--theme", "dark", "--locale", "pt-BR"),
        *("--suggestion", "Prices?", "--suggestion", "Hours?"),
    )

    facts = json.loads(run("tenant", "show", "shop", "--json"))

    assert facts["origins"] == ["https://shop.test", "https://xn--bcher-kva.test"]
    assert (facts["rate_per_minute"], facts["visitor_rate_per_minute"], facts["tokens_per_day"]) == (10, 0, 5000)
    assert (facts["model"], facts["system_prompt"], facts["openai_key_env"]) == ("large", "Sell bücher.", "SHOP_KEY")
    assert (facts["temperature"], facts["max_answer_tokens"], facts["visitor_streams"]) == (0.3, 500, 3)
    assert facts["openai_base_url_env"] == "SHOP_URL"
    assert facts["widget"] == {
        "sound": True,
        "followUps": ["More?"],
        "title": "Shop 🎉",
        "greeting": "Hi",
        "placeholder": "Ask",
        "color": "#1a6b54",
        "position": "bottom-left",
        "theme": "dark",
        "locale": "pt-BR",
        "suggestions": ["Prices?", "Hours?"],
    }
    assert "visitor_salt" not in facts


@pytest.mark.each_database
def test_set_changes_the_given_settings_and_an_empty_text_removes_one(run: Run) -> None:
    run(*ADD, "--model", "large", "--title", "Shop", "--greeting", "Hi", "--suggestion", "Prices?")

    run("tenant", "set", "shop", "--model", "", "--title", "", "--suggestion", "", "--origin", "http://localhost:*")

    facts = json.loads(run("tenant", "show", "shop", "--json"))
    assert (facts["model"], facts["widget"]) == (None, {"greeting": "Hi"})
    assert (facts["origins"], facts["rate_per_minute"]) == (["http://localhost:*"], 6000)


@pytest.mark.parametrize(
    "wrong",
    [
        ("--title", "x" * 101),
        ("--suggestion", "x" * 1000),
        ("--require-identity",),
        *[tuple(f"--identity-claim=c{n}" for n in range(21))],
    ],
    ids=["title", "suggestion", "identity", "claims"],
)
def test_a_refused_set_changes_nothing(run: Run, fail: Fail, wrong: tuple[str, ...]) -> None:
    run(*ADD, "--title", "Ask us", "--tokens-per-day", "5000")
    before = run("tenant", "show", "shop", "--json")

    options = ("--any-origin", "--tokens-per-day", "0", "--greeting", "Hello", *wrong)
    assert fail("tenant", "set", "shop", *options)[0] == 1

    assert run("tenant", "show", "shop", "--json") == before


def test_unset_restores_a_settings_default(run: Run) -> None:
    """Settings of the tenant and its widget: numbers, texts, and those that only a file can set."""
    run(*ADD, "--temperature", "0", "--model", "large", "--title", "Shop", "--theme", "dark")

    run("tenant", "set", "shop", "--unset", "temperature", "--unset", "title", "--max-answer-tokens", "0")

    facts = json.loads(run("tenant", "show", "shop", "--json"))
    assert (facts["temperature"], facts["model"], facts["max_answer_tokens"]) == (None, "large", 0)
    assert facts["widget"] == {"theme": "dark"}


def test_any_website_is_allowed_only_with_an_explicit_flag(run: Run) -> None:
    assert "may run on any website" in run("tenant", "add", "public", "--any-origin")
    assert json.loads(run("tenant", "show", "public", "--json"))["origins"] == ["*"]


def test_the_upstream_learns_who_is_asking_only_with_an_explicit_flag(run: Run) -> None:
    def upstream_learns_ids() -> object:
        return json.loads(run("tenant", "show", "shop", "--json"))["tell_upstream"]

    run(*ADD)
    assert upstream_learns_ids() is False
    run("tenant", "set", "shop", "--tell-upstream")
    assert upstream_learns_ids() is True
    run("tenant", "set", "shop", "--title", "Shop")
    assert upstream_learns_ids() is True
    run("tenant", "set", "shop", "--no-tell-upstream")
    assert upstream_learns_ids() is False


def test_user_tokens_are_verified_with_one_method_at_a_time(run: Run, tmp_path: Path) -> None:
    pem = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)

    def identity() -> list[object]:
        facts = json.loads(run("tenant", "show", "shop", "--json"))
        names = ("identity_secret_env", "identity_public_key", "identity_claims", "require_identity")
        return [facts[name] for name in names]

    run(*ADD, "--identity-secret-env", "SHOP_SECRET", "--identity-claim", "name", "--identity-claim", "plan")
    assert identity() == ["SHOP_SECRET", None, ["name", "plan"], False]
    run("tenant", "set", "shop", "--identity-public-key-file", "key.pem", "--require-identity")
    assert identity() == [None, "".join(pem.decode().splitlines()[1:-1]), ["name", "plan"], True]
    run("tenant", "set", "shop", "--no-require-identity", "--identity-claim", "")
    run("tenant", "set", "shop", "--identity-public-key-file", "")
    assert identity() == [None, None, [], False]


def test_identity_can_be_required_only_if_it_can_be_verified(run: Run, fail: Fail) -> None:
    assert "--identity-secret-env" in fail(*ADD, "--require-identity")[1]
    run(*ADD, "--identity-secret-env", "SHOP_SECRET", "--require-identity")
    assert "--identity-secret-env" in fail("tenant", "set", "shop", "--identity-secret-env", "")[1]
    assert json.loads(run("tenant", "show", "shop", "--json"))["identity_secret_env"] == "SHOP_SECRET"


def test_only_an_ed25519_public_key_is_accepted_for_user_tokens(run: Run, fail: Fail, tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    (tmp_path / "ec.pem").write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    private = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "private.pem").write_bytes(private)
    assert "not an Ed25519 key" in fail(*ADD, "--identity-public-key-file", "ec.pem")[1]
    message = fail(*ADD, "--identity-public-key-file", "private.pem")[1]
    assert "not a public key" in message
    assert private.decode().splitlines()[1] not in message


@pytest.mark.each_database
def test_tenants_are_listed_shown_and_removed(run: Run) -> None:
    run(*ADD)
    run("tenant", "add", "bakery", "--origin", "https://bakery.test")

    assert re.findall(r"^\S+", run("tenant", "list"), re.M) == ["name", "bakery", "shop"]
    assert [each["name"] for each in json.loads(run("tenant", "list", "--json"))] == ["bakery", "shop"]
    assert re.search(r"^origins +https://shop\.test$", run("tenant", "show", "shop"), re.M)

    run("tenant", "remove", "shop")
    assert [each["name"] for each in json.loads(run("tenant", "list", "--json"))] == ["bakery"]


@pytest.mark.parametrize(
    ("options", "typed", "code"), [([], "\n", 1), ([], "n\n", 1), ([], "Yes\n", 0), ([], "y\n", 0), (["--yes"], "", 0)]
)
def test_removing_a_tenant_at_a_terminal_asks_once(
    run: Run, tmp_path: Path, options: list[str], typed: str, code: int
) -> None:
    """Without a terminal, as in scripts or cron, it doesn't ask."""
    run(*ADD)
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": os.environ["DATABASE_URL"]}
    command = [sys.executable, str(ROOT / "manage.py"), "tenant", "remove", "shop", *options]
    terminal, end = os.openpty()
    try:
        os.write(terminal, typed.encode())
        removal = subprocess.run(command, env=environment, cwd=tmp_path, stdin=end, stderr=end, timeout=60)
        os.write(end, b"\0")
        shown = read_terminal(terminal, b"\0").decode()
    finally:
        os.close(terminal)
        os.close(end)

    assert removal.returncode == code
    assert shown.count("[y/N]") == (not options)
    assert ("Nothing was changed." in shown) == bool(code)
    assert len(json.loads(run("tenant", "list", "--json"))) == code

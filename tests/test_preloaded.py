"""The tests' fork server, which starts the services."""

from pathlib import Path

from preloaded import run_program


def test_a_program_starts_with_the_services_modules_loaded(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import sys\nprint(sorted({'chatbot', 'manage', 'warm'} & sys.modules.keys()))")
    done = run_program([str(program)], cwd=tmp_path, env={}, directory=tmp_path)
    assert (done.stdout, done.stderr) == ("['chatbot', 'manage', 'warm']\n", "")

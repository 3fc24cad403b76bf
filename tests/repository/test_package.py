import subprocess
import sys
import zipfile
from pathlib import Path

import ppl_vae

ROOT = Path(__file__).parents[2]


def test_the_wheel_builds_with_its_console_script(tmp_path):
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
        (entry,) = [n for n in names if n.endswith("entry_points.txt")]
        assert "ppl-vae = ppl_vae.cli:main" in files.read(entry).decode()
        assert wheel.name.split("-")[1] == ppl_vae.__version__
    assert {"ppl_vae/py.typed", "ppl_vae/__init__.pyi", "ppl_vae/vae/vae.py"} <= set(names)
    pages = {f"ppl_vae/pages/{file.name}" for file in (ROOT / "ppl_vae" / "pages").iterdir() if file.is_file()}
    assert {".html", ".css", ".js"} <= {Path(page).suffix for page in pages}
    assert pages <= set(names)
    assert not any(n.startswith(("tests", "experiments")) for n in names)


def test_the_top_level_holds_only_what_belongs_there():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    top = {path.split("/")[0] for path in listed.stdout.splitlines()}
    allowed = {"pyproject.toml", "README.md", "ppl_vae", "experiments", "tests", "Makefile", "constraints.txt"}
    allowed |= {"CHANGELOG.md", "LICENSE", "docs"}
    assert {name for name in top if not name.startswith(".")} <= allowed

"""What a study folder may hold that was made by somebody else: nothing outside of it is touched, and nothing waits."""

import ast
import os
import shutil
import signal
import socket
import stat
from contextlib import contextmanager
from pathlib import Path

import pytest
from studies import make_study, train_here

import lerac.study
from lerac.cli import run as command_line
from lerac.study.engines.session import Session
from lerac.study.engines.worker import attempt
from lerac.study.errors import StudyError
from lerac.study.files import claim, folder_in, make_durable, open_file, read_bytes, write_text
from lerac.study.runs.folder import read_study
from lerac.study.runs.outcomes import collect
from lerac.study.statistics.networks import read_predictions

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links, pipes and signals")

STUDY = make_study("lerac", epochs=1)
[RUN] = STUDY.runs()
OWN = [".lock", "study.json", "results.csv", "timings.csv", "report.html", "table.csv", "table.tex", ".shared"]
OF_A_RUN = [".lock", "config.json", "status.json", "metrics.jsonl", "checkpoint.pt", "predictions.npz", "error.txt"]
TEMPORARY = [f".{name}.{number}.tmp" for name in ("study.json", "results.csv") for number in (os.getpid(), 1)]
FILES = OWN + TEMPORARY + [f"{RUN.folder}/{name}" for name in OF_A_RUN]
WAYS = ("open", "read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "touch", "savetxt", "loadtxt")
FOLDERS = ["runs", str(Path(RUN.folder).parent), RUN.folder]


def device(path, victim):
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero, which never ends


def listening(path, victim):
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(path.parent)  # such names are short
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


KINDS = {
    "a link": lambda path, victim: path.symlink_to(victim / "precious"),
    "a link by another way": lambda path, victim: path.symlink_to(os.path.relpath(victim / "precious", path.parent)),
    "a link to nothing": lambda path, victim: path.symlink_to(victim / "nothing"),
    "a link to a folder": lambda path, victim: path.symlink_to(victim / "folder"),
    "a link to a device": lambda path, victim: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path, victim: path.symlink_to(path),
    "a hard link": lambda path, victim: path.hardlink_to(victim / "precious"),
    "a pipe": lambda path, victim: os.mkfifo(path),
    "a link to a pipe": lambda path, victim: path.symlink_to(victim / "pipe"),
    "a folder": lambda path, victim: (path.mkdir(), (path / "inside").write_text("x")),
    "a socket": listening,
    "a device": device,
}


def put(path: Path, kind: str, victim: Path) -> None:
    """Put something else in the place of a file or folder."""
    if path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        KINDS[kind](path, victim)
    except PermissionError:
        pytest.skip("only the superuser makes devices")


def state(folder: Path) -> dict:
    """Everything in a folder that a change would show."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        about = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(about.st_mode) else None
        found[path] = about.st_mode, about.st_mtime_ns, about.st_size, content
    return found


@contextmanager
def soon(seconds: int = 60):
    """Whoever waits for the other end of a pipe is stopped."""

    def stop(*_):
        raise AssertionError("this waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def victim(tmp_path):
    """Files of somebody, outside of the study."""
    folder = tmp_path / "victim"
    (folder / "folder").mkdir(parents=True)
    (folder / "precious").write_text("precious")
    (folder / "folder" / "inside").write_text("precious, too")
    os.mkfifo(folder / "pipe")
    before = state(folder)
    yield folder
    assert state(folder) == before


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return train_here(tmp_path_factory.mktemp("finished"), STUDY)


def write(folder: Path) -> None:
    session = Session(folder, STUDY)
    with session.claimed() as study:
        session.write_tables(study)


def use(folder: Path) -> None:
    """Read and write every file of a study, as its commands do; what is refused is said in one line."""
    said = [attempt(folder, RUN).failure]
    for action in (
        lambda: read_study(folder),
        lambda: collect(folder, [RUN]),
        lambda: read_predictions(folder / RUN.folder / "predictions.npz"),
        lambda: write(folder),
    ):
        try:
            action()
        except (StudyError, OSError) as error:
            said.append(str(error))
    assert not any("\n" in (one or "") for one in said)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_the_place_of_a_file_leads_out_of_the_study(finished, victim, tmp_path, kind):
    for name in FILES:
        folder = shutil.copytree(finished, tmp_path / "study")
        put(folder / name, kind, victim)
        with soon():
            use(folder)
        shutil.rmtree(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unfinished_run_goes_on_or_says_why_not(finished, victim, tmp_path, kind):
    for name in ("config.json", "checkpoint.pt", ".lock", "error.txt"):
        folder = shutil.copytree(finished, tmp_path / "study")
        path = folder / RUN.folder
        (path / "status.json").unlink()
        put(path / name, kind, victim)
        with soon():
            answer = attempt(folder, RUN)
        # What is written only is replaced, what is read is refused; a hard link is a file like any other.
        if name == "error.txt" and kind != "a folder":
            assert answer.failure is None
            assert not (path / name).is_symlink()
        elif kind != "a hard link":
            assert f"{name} is {'a symbolic link' if 'link' in kind else kind}, not a file" in answer.failure or (
                name == "error.txt"
            )
        shutil.rmtree(folder)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "a folder"])
@pytest.mark.parametrize("name", FOLDERS, ids=["runs", "of a training", "of a run"])
def test_no_folder_leads_out_of_the_study(finished, victim, tmp_path, kind, name):
    folder = shutil.copytree(finished, tmp_path / "study")
    put(folder / name, kind, victim)
    with soon():
        use(folder)
    if kind == "a link to a folder":
        with pytest.raises(StudyError, match="is a symbolic link, not a folder: nothing in the folder of a study may"):
            collect(folder, [RUN])


@pytest.mark.parametrize("name", [".lock", "report.html", f"{RUN.folder}/status.json"])
def test_the_commands_say_it_in_one_line(finished, victim, tmp_path, capsys, name):
    for kind in ("a link", "a pipe"):
        folder = shutil.copytree(finished, tmp_path / "study")
        put(folder / name, kind, victim)
        with soon(120):
            codes = [command_line(["report", str(folder)]), command_line(["compare", "digits", "--out", str(folder)])]
        err = capsys.readouterr().err
        assert "Traceback" not in err
        assert codes[0] == (0 if name in (".lock", "report.html") else 2)
        assert codes[1] == 2  # another study, or what was put there
        assert err.count("\n") == codes.count(2)
        shutil.rmtree(folder)


def test_a_study_whose_own_folder_is_a_link_is_as_good_as_any(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "study")
    (tmp_path / "link").symlink_to("study")
    assert collect(tmp_path / "link", [RUN])[0].state == "done"
    with Session(tmp_path / "link", STUDY).claimed() as study:
        assert study == STUDY


def test_the_lock_holds_through_a_hard_link_and_changes_nothing(tmp_path):
    (tmp_path / "precious").write_text("as it was")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / ".lock").hardlink_to(tmp_path / "precious")
    with claim(tmp_path / "study"), pytest.raises(StudyError, match="another lerac"), claim(tmp_path / "study"):
        pass
    assert (tmp_path / "precious").read_text() == "as it was"


def test_without_locks_the_files_of_a_living_process_are_left(tmp_path, monkeypatch):
    def unsupported(file, how):
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr("fcntl.flock", unsupported)
    (tmp_path / ".results.csv.99.tmp").write_text("half")
    with pytest.warns(UserWarning, match="has no locks"), claim(tmp_path):
        assert (tmp_path / ".results.csv.99.tmp").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_the_one_way_to_open(victim, tmp_path, kind):
    path = tmp_path / "file"
    put(path, kind, victim)
    with soon(5):
        for read in (open_file, read_bytes, make_durable):
            if kind == "a hard link":
                if (file := read(path)) and not isinstance(file, bytes):
                    file.close()
            elif not (read is make_durable and "folder" in kind):
                with pytest.raises(StudyError, match=r"file is .*, not a file: nothing in the folder of a study may"):
                    read(path)
        if kind != "a folder":
            write_text(path, "new")
            assert (path.read_text(), path.is_symlink()) == ("new", False)


def test_the_one_way_to_a_folder(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "c").symlink_to("b")
    assert folder_in(tmp_path, "a/b") == tmp_path / "a" / "b"
    assert folder_in(tmp_path, "x/y") == tmp_path / "x" / "y"
    for relative in ("a/c", "a/c/d"):
        with pytest.raises(StudyError, match=r"a/c is a symbolic link, not a folder"):
            folder_in(tmp_path, relative)


def test_there_is_no_other_way():
    """In the rooms that know a study's folder, files are opened by `lerac.study.files` alone."""
    source = Path(lerac.study.__file__).parent
    found = set()
    for room in ("statistics", "plan", "runs", "engines", "figures", "terminal", "report"):
        for path in (source / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    if called == "open" or (called.rpartition(".")[2] in WAYS and "." in called):
                        found.add(f"{path.relative_to(source)}: {called}")
    # Which processor this is; the folder that a sample of data is written to, a table of numbers, and a list of values
    # to try, which are no study's; and the folder of a training of one's own, in that of its run.
    assert found == {
        "runs/run.py: cpuinfo.read_text",
        "plan/space.py: path.read_text",
        "terminal/data.py: root.mkdir",
        "runs/numbers/reading.py: path.read_bytes",
        "runs/own.py: folder_in(files.path, FOLDER).mkdir",
    }

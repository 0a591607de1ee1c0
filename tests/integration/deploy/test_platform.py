"""What stands between two runs of one data folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded import session
from deploy.embedded.layout import Layout
from deploy.run.options import Options, UnableToRun
from deploy.run.platform import Platform, private_log

pytestmark = pytest.mark.processes


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    made = Layout.of(tmp_path / "data")
    made.make()
    yield made
    for folder in {made.servers, made.sockets} - {made.data}:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_second_run_on_the_same_folder_is_refused(layout):
    first, second = (Platform(Options(layout.data)) for _ in range(2))
    with first._alone(), pytest.raises(UnableToRun, match="already running"), second._alone():
        pass


def test_a_reset_forgets_everything(layout):
    (layout.data / "custodian.jsonl").write_text("{}\n")
    (layout.postgres / "PG_VERSION").write_text("18")
    Platform(Options(layout.data, reset=True))._reset()
    assert not (layout.data / "custodian.jsonl").exists()
    assert not (layout.postgres / "PG_VERSION").exists()


def test_a_reset_is_refused_while_somebody_uses_the_servers(layout):
    joined = session.join(layout.data)
    try:
        with pytest.raises(UnableToRun, match="still uses the servers"):
            Platform(Options(layout.data, reset=True))._reset()
        assert (layout.postgres / "PG_VERSION").exists()
    finally:
        joined.leave(wait_s=20)


def test_two_platforms_have_addresses_of_their_own():
    first, second = (Platform(Options(Path("/tmp/never-made"))) for _ in range(2))
    assert first.url.startswith("http://127.0.0.1:")
    assert first.layout.sockets == second.layout.sockets
    assert Platform(Options(Path("/tmp/never-made-either"))).layout.sockets != first.layout.sockets


def test_the_log_is_for_its_owner_and_holds_no_password(layout, capsys):
    path = layout.logs / "platform.log"
    path.write_text("an earlier run\n")
    path.chmod(0o644)
    platform = Platform(Options(layout.data))
    person = {"role": "risk", "email": "rhea@plimsoll.example", "password": "p4ss-w0rd", "door": "/console/"}
    platform._people = [person]
    with private_log(path) as platform._log:
        platform._say_ready()
    assert path.stat().st_mode & 0o777 == 0o600
    kept = path.read_text()
    assert "an earlier run" in kept
    assert f"READY {platform.url}" in kept
    assert "p4ss-w0rd" not in kept
    assert "p4ss-w0rd" in capsys.readouterr().out


def test_the_log_of_a_new_folder_is_for_its_owner(layout):
    path = layout.logs / "platform.log"
    private_log(path).close()
    assert path.stat().st_mode & 0o777 == 0o600

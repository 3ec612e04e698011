"""A PostgreSQL server of the tests' own: its data in a folder, its port free, ended with the test.

PostgreSQL refuses to run as root, so where the tests do, the server runs as another user.
"""

import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path

PASSWORD = "s3cret"
LESS_THAN_ROOT = ("postgres", "nobody")


class Server:
    """PostgreSQL in a folder.

    Args:
        folder: Of its data; must not exist.
        binaries: Folder of initdb, pg_ctl and postgres.
    """

    def __init__(self, folder: Path, binaries: Path):
        self._binaries, self._folder = binaries, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        folder.mkdir(mode=0o700)
        password = folder.with_name(f"{folder.name}.password")
        password.write_text(PASSWORD)
        self._user = _user()
        if self._user:
            for path in (folder, password):
                shutil.chown(path, self._user)
            for parent in folder.parents:  # pytest's folders let their owner in alone
                if parent.owner() == "root" and parent.stat().st_mode & 0o077 == 0:
                    parent.chmod(0o711)
        self._run("initdb", "-D", folder, "-U", "kit", "-A", "scram-sha-256", "--pwfile", password, "-E", "UTF8", "-N")

    @property
    def url(self) -> str:
        """Its address, password included."""
        return f"postgresql+psycopg://kit:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        # fsync off: what the tests ask survives a server's restart, not the machine's
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._run("pg_ctl", "-D", self._folder, "-l", self._folder / "log", "-w", "-t", "60", "-o", options, "start")

    def stop(self) -> None:
        """Ends it at once, connections and all."""
        self._run("pg_ctl", "-D", self._folder, "-m", "fast", "-w", "-t", "60", "stop")

    def restart(self) -> None:
        """As an administrator would."""
        self.stop()
        self.start()

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._binaries / program), *map(str, arguments)]
        options = {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid} if self._user else {}
        done = subprocess.run(
            command, cwd="/", stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=120, check=False,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, extra_groups=[] if self._user else None, **options,
        )  # fmt: skip
        assert done.returncode == 0, f"{program} ended with {done.returncode}: {done.stdout}"


def _user() -> str | None:
    """Whom to be instead of root; None where the tests are not root."""
    if os.geteuid():
        return None
    for name in LESS_THAN_ROOT:
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise AssertionError(f"PostgreSQL must not run as root, and there is none of the users {', '.join(LESS_THAN_ROOT)}")

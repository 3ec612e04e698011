"""`transferkit push`, by huggingface_hub's own client, to a Hub of a hundred lines on this machine."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec

import pytest

from doubles import swap
from in_process import _loud, command, refused  # noqa: F401  # fixtures
from kit import hub_push
from kit.errors import ConfigError
from small_settings import SMALL

needs_client = pytest.mark.skipif(not find_spec("huggingface_hub"), reason="needs the extra push")


class Hub(BaseHTTPRequestHandler):
    """What the client asks for an upload: who am I, make a repository, how to send files, a commit that holds them.

    Files named in `large` go up before the commit, as Git LFS sends them, and the commit names their content.
    """

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def do_PUT(self):
        oid = self.path.rpartition("/")[2]
        if self.server.full:
            self.send(507, {"error": "no room left"})
            return
        self.server.stored[oid] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send(200, {})

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub, path = self.server, self.path.partition("?")[0]
        if hub.down:
            self.send(503, {"error": "closed for the night"})
        elif self.headers.get("Authorization") != "Bearer hf_writer":
            self.send(401, {"error": "Invalid username or password."})
        elif path == "/api/whoami-v2":
            self.send(200, {"type": "user", "name": "ada"})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            if asked["organization"] != "ada":
                self.send(403, {"error": "You don't have the rights to create a model under this namespace"})
                return
            name = f"{asked['organization']}/{asked['name']}"
            known = name in hub.files
            hub.files.setdefault(name, {})
            hub.private[name] = asked.get("private") or asked.get("visibility") == "private"
            self.send(409 if known else 200, {"url": f"{hub.url}/{name}", "name": name, "id": name})
        elif path == "/api/validate-yaml":
            self.send(200, {"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [
                {"path": name, "uploadMode": "lfs" if name in hub.large else "regular", "shouldIgnore": False}
                for name in (one["path"] for one in json.loads(body)["files"])
            ]
            self.send(200, {"files": files, "commitOid": "0" * 40})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                one | {"actions": {"upload": {"href": f"{hub.url}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self.send(200, {"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            name = "/".join(path.split("/")[3:5])
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    hub.files[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "lfsFile":
                    hub.files[name][line["value"]["path"]] = hub.stored[line["value"]["oid"]]
            sha = hashlib.sha1(body).hexdigest()
            self.send(200, {"commitUrl": f"{hub.url}/{name}/commit/{sha}", "commitOid": sha, "pullRequestUrl": None})
        else:
            self.send(404, {"error": f"no such page: {path}"})

    def send(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Quiet."""


@pytest.fixture
def hub(monkeypatch):
    """A Hub with one user, ada, whose token is hf_writer; `hub.files` is what it was given."""
    import huggingface_hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.files, server.private, server.down = {}, {}, False
    server.large, server.stored, server.full = set(), {}, False
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
    huggingface_hub.close_session()


@pytest.fixture
def exported(tmp_path):
    """The folder of an export, with a file that is none of its own."""
    folder = tmp_path / "keras"
    folder.mkdir()
    files = {"model.keras": b"weights", "README.md": b"---\nlicense: other\n---\n# Card\n", "labels.json": b"[]"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "export.json").write_text(json.dumps({"kind": "export", "files": {name: {} for name in files}}))
    (folder / "diary.txt").write_text("mine")
    return folder


@needs_client
@pytest.mark.backend
@pytest.mark.once(backend="jax")
def test_a_run_goes_up_with_its_card(command, hub, images, toy_weights, tmp_path, quick_jax):  # noqa: F811
    import kit

    run = kit.train(images, tmp_path / "run", weights=toy_weights, **SMALL)
    done = command("push", run.path, "ada/flowers", "--private")
    assert (done.status, done.out) == (0, f"Page: {hub.url}/ada/flowers\n")
    assert hub.private == {"ada/flowers": True}
    files = hub.files["ada/flowers"]
    assert files["model.keras"] == run.model_path.read_bytes()
    card = files["README.md"].decode()
    assert card.startswith("---\nlicense: ")
    assert '"image-classification"' in card.partition("\n---\n")[0]
    assert sorted(json.loads(files["labels.json"])) == ["blue", "green", "red"]
    assert set(files) == {"export.json", *json.loads(files["export.json"])["files"]}
    before = (run.path / "exports/keras/export.json").read_bytes()
    assert kit.load_run(run.path).push("ada/flowers") == f"{hub.url}/ada/flowers", "a repository that is there"
    assert (run.path / "exports/keras/export.json").read_bytes() == before, "the export that lies there is taken"


@needs_client
def test_an_export_goes_up_as_it_is_and_nothing_else(command, hub, exported):  # noqa: F811
    done = command("push", exported, "ada/flowers", "--json")
    assert (done.status, done.err) == (0, "")
    assert json.loads(done.out) == {"run": str(exported), "page": f"{hub.url}/ada/flowers"}
    assert set(hub.files["ada/flowers"]) == {"model.keras", "README.md", "labels.json", "export.json"}


@needs_client
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # how the client 2.4 calls its transport
def test_a_large_model_goes_up_before_the_commit_that_names_it(command, refused, hub, exported, monkeypatch):  # noqa: F811
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # whose protocol this Hub does not speak
    hub.large = {"model.keras"}
    done = command("push", exported, "ada/flowers")
    assert (done.status, done.out) == (0, f"Page: {hub.url}/ada/flowers\n")
    (content,) = hub.stored.values()
    assert content == hub.files["ada/flowers"]["model.keras"] == b"weights"
    hub.full = True
    assert "did not take ada/flowers: " in refused("push", exported, "ada/flowers")


@needs_client
def test_what_goes_wrong_is_one_message(refused, hub, exported, tmp_path, monkeypatch):  # noqa: F811

    assert "named user/name, not 'flowers'" in refused("push", exported, "flowers")
    assert "is not a run folder" in refused("push", tmp_path, "ada/flowers")
    assert "takes no format" in refused("push", exported, "ada/flowers", "--format", "onnx")
    assert "The token may not write to bob/flowers." in refused("push", exported, "bob/flowers")
    hub.down = True
    swap(monkeypatch, "time", "sleep", lambda seconds: None)  # the client waits before it tries again
    message = refused("push", exported, "ada/flowers")
    assert "The Hugging Face Hub did not take ada/flowers: " in message
    hub.down = False
    monkeypatch.setenv("HF_TOKEN", "hf_of_yesterday")
    assert "refuses the token" in refused("push", exported, "ada/flowers")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    assert "There is no token of the Hugging Face Hub.\nMake one" in refused("push", exported, "ada/flowers")
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    assert "The Hugging Face Hub cannot be reached: " in refused("push", exported, "ada/flowers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in refused("push", exported, "ada/flowers")
    assert hub.files == {}


@pytest.mark.skipif(bool(find_spec("huggingface_hub")), reason="huggingface_hub is installed")
def test_without_the_client_a_message_says_what_to_install(refused, exported):  # noqa: F811
    assert "pip install 'huggingface_hub>=1.0'" in refused("push", exported, "ada/flowers")


@pytest.mark.parametrize("name", ["flowers", "ada/", "ada/a b", "ada/a--b", "a/b/c", "ada/-a", "ada/" + "a" * 96, 3])
def test_names_that_the_hub_refuses_are_told_before_anything_is_done(name, exported):
    with pytest.raises(ConfigError, match="named user/name"):
        hub_push.push(exported, name)

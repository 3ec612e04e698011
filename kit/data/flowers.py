"""TF flowers: 3,670 images of five species, the data set named `flowers`."""

from pathlib import Path

from kit.data.archives import extract
from kit.data.download import fetch
from kit.paths import cache_folder

URL = "https://download.tensorflow.org/example_images/flower_photos.tgz"
SIZE = 228_813_984
SHA256 = "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c"


def download() -> Path:
    """Download and unpack the class folders into the cache; raises DownloadError if that fails."""
    archive = cache_folder() / "downloads" / "flower_photos.tgz"
    return extract(fetch(URL, archive, size=SIZE, sha256=SHA256, label="TF flowers"))

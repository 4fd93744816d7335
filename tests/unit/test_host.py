from __future__ import annotations

from pathlib import Path

import pytest

from musllinux_build.adapters.host import ca_bundle, forwarded_index, tracked_files
from musllinux_build.errors import UsageError

LISTING = """\
:env:.cert='/etc/ssl/certs/ca-certificates.crt'
:env:.find-links='/opt/wheels'
global.extra-index-url='file:///opt/simple\\nhttps://two.example/simple'
global.index-url='https://user:secret@one.example/simple'
global.trusted-host='one.example'
install.proxy='http://proxy.example:3128'
list.format='json'
"""


def test_what_means_the_same_in_a_container_goes_along() -> None:
    assert forwarded_index(LISTING, with_credentials=False) == {
        "PIP_EXTRA_INDEX_URL": "https://two.example/simple",
        "PIP_TRUSTED_HOST": "one.example",
        "PIP_PROXY": "http://proxy.example:3128",
    }


def test_credentials_go_along_when_asked() -> None:
    found = forwarded_index(LISTING, with_credentials=True)
    assert found["PIP_INDEX_URL"] == "https://user:secret@one.example/simple"


def test_an_index_on_this_machine_stays() -> None:
    assert forwarded_index("global.index-url='http://localhost:3141/root'", with_credentials=True) == {}


def test_the_chosen_bundle_must_hold_a_certificate(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    with pytest.raises(UsageError, match="holds no certificate"):
        ca_bundle(path, {})
    path.write_text("-----BEGIN CERTIFICATE-----")
    assert ca_bundle(path, {}) == path.read_bytes()
    assert ca_bundle(None, {"SSL_CERT_FILE": str(path)}) == path.read_bytes()


def test_a_directory_outside_version_control(tmp_path: Path) -> None:
    assert tracked_files(tmp_path) is None

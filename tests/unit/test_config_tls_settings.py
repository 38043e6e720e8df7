"""TLS in the configuration: certificates are read with it, and each contradiction is an error."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from echod.config.address_listing import made_certificates
from echod.config.errors import ConfigurationError
from echod.config.loading import from_listen, load
from echod.services.registry import kinds
from echod.tls import issuing
from tests.tls import authority

TLS = '[services.echo]\nlisten = ["tls://127.0.0.1:4007"]\n[services.echo.tls]\n'


@pytest.fixture
def read(tmp_path):
    """Reads a configuration beside a certificate, its key, and an authority."""
    made = issuing.server(authority(), ["echo.example"], datetime.now(UTC))
    (tmp_path / "a.pem").write_bytes(made.certificate_pem)
    (tmp_path / "a.key").write_bytes(made.key_pem)
    (tmp_path / "ca.pem").write_bytes(authority().certificate_pem)
    other = issuing.server(authority(), ["other.example"], datetime.now(UTC))
    (tmp_path / "other.key").write_bytes(other.key_pem)
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "a.pem").write_bytes(made.certificate_pem)
    (tmp_path / "pairs" / "a.key").write_bytes(other.key_pem)
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "b.pem").write_bytes(made.certificate_pem + made.key_pem)

    def read(text):
        file = tmp_path / "echod.toml"
        file.write_text(text)
        return load(file, kinds(), {})

    return read


def tls_of(configuration):
    (service,) = configuration.services
    return service.tls


def test_files_start_from_the_configuration(read, tmp_path):
    tls = tls_of(read(TLS + 'certificate = "a.pem"\nkey = "a.key"\nclient-ca = "ca.pem"\nalpn = ["echo", "x"]\n'))
    assert (tls.certificate, tls.key, tls.client_ca) == (tmp_path / "a.pem", tmp_path / "a.key", tmp_path / "ca.pem")
    assert (tls.client, tls.profile, tls.alpn) == ("required", "intermediate", ("echo", "x"))
    assert [certificate.facts.names for certificate in tls.contexts.certificates] == [("echo.example",)]


def test_a_renewed_certificate_is_a_change_of_the_configuration(read, tmp_path):
    text = TLS + 'certificate = "all/b.pem"\n'
    before, same = read(text), read(text)
    assert before == same
    renewed = issuing.server(authority(), ["echo.example"], datetime.now(UTC))
    (tmp_path / "all" / "b.pem").write_bytes(renewed.certificate_pem + renewed.key_pem)
    assert read(text) != before


def test_a_made_certificate_is_told(read):
    configuration = read(TLS + 'certificate = "self-signed"\n')
    [line] = made_certificates(configuration)
    assert line.startswith("echo  self-signed certificate for 127.0.0.1, localhost, ::1")
    assert tls_of(configuration).fingerprints[0] in line
    assert not list(made_certificates(read(TLS + 'certificate = "all/b.pem"\n')))


def test_a_wrong_certificate_is_made_for_the_addresses_and_told(read, tmp_path):
    (tmp_path / "root.pem").write_bytes((root := issuing.root(datetime.now(UTC))).certificate_pem + root.key_pem)
    text = TLS + 'certificate = "wrong-purpose"\ntest-ca = "root.pem"\n'
    configuration = read(text)
    [certificate] = tls_of(configuration).contexts.certificates
    assert certificate.facts.names[:3] == ("127.0.0.1", "localhost", "::1")
    assert certificate.facts.issuer == "CN=echod test CA"
    assert list(made_certificates(configuration)) == ["echo  certificate that is wrong on purpose: wrong-purpose"]
    assert read(text) == configuration


def test_a_revoked_certificate_names_its_list_and_its_responder(read):
    tls = tls_of(read(TLS + 'certificate = "revoked"\nrevocation-url = "http://127.0.0.1:10081/"\n'))
    der = ssl.PEM_cert_to_DER_cert(tls.contexts.certificates[0].pem.decode().partition("-----BEGIN PRIV")[0])
    assert b"http://127.0.0.1:10081/ca.crl" in der
    assert b"http://127.0.0.1:10081/ocsp" in der


def test_a_directory_may_have_a_default_certificate_before_it(read):
    tls = tls_of(read(TLS + 'certificate = "self-signed"\ndirectory = "all"\n'))
    assert [certificate.made for certificate in tls.contexts.certificates] == [True, False]
    assert tls.contexts.context_for("echo.example") is not tls.contexts.default


def test_listen_makes_a_certificate():
    configuration = from_listen(["echo=tls://127.0.0.1:0"], [], kinds())
    assert tls_of(configuration).contexts.certificates[0].made
    assert tls_of(from_listen(["echo=tcp://127.0.0.1:0"], [], kinds())) is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            '[services.echo]\nlisten = ["tcp://127.0.0.1:7", "tls://127.0.0.1:4007"]',
            "services.echo.listen[1]: tls://127.0.0.1:4007 needs a certificate; expected services.echo.tls with",
        ),
        (TLS, "services.echo.tls.certificate: expected certificate = "),
        (TLS + 'key = "a.key"', "services.echo.tls.certificate: expected certificate = "),
        (TLS + 'certificate = "self-signed"\nkey = "a.key"', "services.echo.tls.key: needs a file in certificate; "),
        (TLS + 'certificate = "self-signed"\nclient = "optional"', "services.echo.tls.client: needs client-ca"),
        (TLS + 'certificate = "none.pem"', "none.pem: no such file or directory (ENOENT)"),
        (TLS + 'certificate = "selfsigned"', "/selfsigned: no such file or directory (ENOENT); did you mean self-s"),
        (TLS + 'certificate = "a.pem"', "a.pem: the file has no private key; set key"),
        (TLS + 'certificate = "a.pem"\nkey = "ca.pem"', "ca.pem: the file has no private key in PEM form"),
        (TLS + 'certificate = "a.pem"\nkey = "none"', ":5: services.echo.tls.key: "),
        (TLS + 'certificate = "none"\nkey = "a.key"', ":4: services.echo.tls.certificate: "),
        (TLS + 'certificate = "all/b.pem"\nkey = "other.key"', ":5: services.echo.tls.key: "),
        (TLS + 'certificate = "expired"\ntest-ca = "ca.pem"\ntest-ca-key = "no"', ":6: services.echo.tls.test-ca-key"),
        (
            '[services.revocation]\nlisten = ["http://127.0.0.1:10081"]\ntest-ca = "ca.pem"\ntest-ca-key = "none"',
            ":4: services.revocation.test-ca-key: ",
        ),
        (TLS + 'directory = "pairs"', ":4: services.echo.tls.directory: "),
        (TLS + 'directory = "none"', "none: no such file or directory (ENOENT)"),
        (TLS + 'certificate = "self-signed"\nclient-ca = "a.key"', "a.key: the file has no certificate in PEM form"),
        (TLS + 'certificate = "expired"\nkey = "a.key"', "services.echo.tls.key: needs a file in certificate; "),
        (TLS + 'certificate = "self-signed"\ntest-ca = "ca.pem"', "services.echo.tls.test-ca: needs a wrong"),
        (TLS + 'certificate = "expired"\ntest-ca-key = "a.key"', "services.echo.tls.test-ca-key: needs test-ca, the"),
        (TLS + 'certificate = "expired"\nrevocation-url = "http://h:1"', "tls.revocation-url: needs certificate = "),
        (TLS + 'certificate = "revoked"\nrevocation-url = "ftp://h"', 'revocation-url: "ftp://h" must be a URL such'),
        (TLS + 'certificate = "expired"\ntest-ca = "all/b.pem"', "b.pem: it is not a certificate of an authority"),
        (TLS + 'certificate = "expired"\ntest-ca = "ca.pem"', "ca.pem: the file has no private key; set test-ca-key"),
        (TLS + f'certificate = "self-signed"\nalpn = ["{"x" * 256}"]', "must be the name of a protocol, of 1 to 255"),
        (
            '[services.echo]\nlisten = ["tcp://127.0.0.1:7"]\n[services.echo.tls]\ncertificate = "self-signed"',
            "services.echo.tls: no address of the service uses TLS; expected one such as tls://*:4007",
        ),
        (
            TLS + 'certificate = "self-signed"\n[services.upper]\nlisten = ["tcp://*:4007"]',
            "services.upper.listen[0]: tcp://*:4007 overlaps with tls://127.0.0.1:4007",
        ),
    ],
)  # fmt: skip
def test_an_error_names_the_key_and_the_file(read, text, error):
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    [only] = map(str, caught.value.errors)
    assert error in only


def test_the_printed_configuration_has_the_settings(read):
    from echod.config.printing import describe

    lines = list(describe(read(TLS + 'certificate = "a.pem"\nkey = "a.key"\n')))
    assert "[services.echo.tls]" in lines
    assert any(line.startswith("certificate = ") and Path("a.pem").name in line for line in lines)
    assert any(line.startswith('profile = "intermediate"') for line in lines)

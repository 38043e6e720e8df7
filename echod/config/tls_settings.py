"""Builds the TLS settings of a service: reads its certificates and keys, and makes the contexts that use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from echod.address import Address
from echod.config.errors import element, joined
from echod.config.schema import WRONG_CERTIFICATES
from echod.config.schema_check import Found, Reading, Written
from echod.config.settings import SELF_SIGNED, TlsSettings
from echod.config.value_types import did_you_mean

REVOKED: Final = "revoked"
_KEY_OF: Final = {"certificate": "key", "test-ca": "test-ca-key"}  # the file of a key, by that of the certificate
CERTIFICATE: Final = 'certificate = "self-signed", certificate and key with files, or directory'


class TlsBuilding:
    """Builds the settings of one service, whose table is at `path`. Errors are recorded in `reading`."""

    def __init__(self, reading: Reading, path: str, listen: Written) -> None:
        self._reading = reading
        self._path = path
        self._listen = listen

    def settings(self, found: Found | None, fields: Mapping[str, Any]) -> TlsSettings | None:
        """The settings, or None if no address uses TLS, or after an error.

        `found` are the keys of the table and `fields` their values. `found` is None without a table.
        """
        addresses = [
            (at, one) for at, one in enumerate(self._listen.value) if one is not None and one.served_form.is_encrypted
        ]
        if found is None:
            if not addresses:
                return None
            if self._listen.path:
                at, address = addresses[0]
                text = f"{address.label} needs a certificate; expected {self._path} with {CERTIFICATE}"
                self._reading.add_error(self._listen.file, element(self._listen.path, at), text)
                return None
            return self._with_contexts(TlsSettings(SELF_SIGNED), {}, [one for _, one in addresses])  # of --listen
        settings = TlsSettings(**fields)
        for key, text in self._contradictions(settings, found, bool(addresses)):
            self._error(key, text, found)
        if any(error.path.startswith(self._path) for error in self._reading.errors):
            return None
        return self._with_contexts(settings, found, [one for _, one in addresses])

    def _contradictions(self, settings: TlsSettings, found: Found, used: bool) -> Iterator[tuple[str, str]]:
        """Yield each key that does not fit the others, and the error; the key is empty if no address uses them."""
        if settings.certificate is None and settings.directory is None:
            yield "certificate", f"expected {CERTIFICATE}"
        elif settings.key is not None and not isinstance(settings.certificate, Path):
            yield "key", "needs a file in certificate; a certificate that is made and a directory have their own keys"
        if settings.test_ca is not None and settings.certificate not in WRONG_CERTIFICATES:
            yield "test-ca", 'needs a wrong certificate, such as certificate = "expired"'
        if settings.revocation_url is not None and settings.certificate != REVOKED:
            yield "revocation-url", 'needs certificate = "revoked"'
        if settings.test_ca_key is not None and settings.test_ca is None:
            yield "test-ca-key", "needs test-ca, the certificate of the authority"
        if "client" in found and settings.client_ca is None:
            yield "client", "needs client-ca, a file of authorities"
        if not used and None not in self._listen.value:
            yield "", "no address of the service uses TLS; expected one such as tls://*:4007"

    def _error(self, key: str, text: str, found: Found) -> None:
        written = found.get(key) or next((one for one in found.values() if isinstance(one, Written)), self._listen)
        self._reading.add_error(written.file, joined(self._path, key) if key else self._path, text)

    def _with_contexts(self, settings: TlsSettings, found: Found, addresses: list[Address]) -> TlsSettings | None:
        # Imported only here: `cryptography` takes 10 MB and 50 ms, and many daemons serve no TLS.
        from echod.tls.certificates import (
            CertificateError,
            KeyFileError,
            read,
            read_authorities,
            read_directory,
            self_signed,
            usual_names,
            wrong,
        )
        from echod.tls.server import ServerContexts

        def attempt(key: str, make: Callable[[], Any]) -> Any:
            try:
                return make()
            except CertificateError as error:
                wrong = _KEY_OF.get(key, key) if isinstance(error, KeyFileError) else key
                self._error(wrong, str(error), found)
                return None

        names = usual_names(address.host for address in addresses)
        certificates: list[Any] = []
        if settings.certificate == SELF_SIGNED:
            certificates.append(self_signed(names))
        elif settings.certificate in WRONG_CERTIFICATES:
            word, issuer = str(settings.certificate), self._test_authority(settings, attempt)
            url = settings.revocation_url
            asked = (f"{url}/ca.crl", f"{url}/ocsp") if url and word == REVOKED else ()
            certificates.append(issuer and wrong(word, names, issuer, *asked))
        elif isinstance(certificate := settings.certificate, Path):
            certificates.append(attempt("certificate", lambda: read(certificate, settings.key)))
            if certificates == [None]:
                self._suggest_word(certificate)
        if (directory := settings.directory) is not None:
            certificates += attempt("directory", lambda: read_directory(directory)) or [None]
        authorities: Any = ""
        if (client_ca := settings.client_ca) is not None:
            authorities = attempt("client-ca", lambda: read_authorities(client_ca))
        if None in certificates or authorities is None:
            return None
        required = settings.client == "required"
        contexts = attempt(
            "certificate",
            lambda: ServerContexts(certificates, settings.profile, settings.alpn, authorities, required=required),
        )
        fingerprints = tuple(certificate.facts.fingerprint for certificate in certificates)
        return contexts and replace(settings, fingerprints=fingerprints, contexts=contexts)

    def _suggest_word(self, certificate: Path) -> None:
        """Add a hint to the last error if a file that does not exist has a name like a word of `certificate`."""
        if not certificate.exists() and (hint := did_you_mean(certificate.name, [SELF_SIGNED, *WRONG_CERTIFICATES])):
            error = self._reading.errors.pop()
            self._reading.errors.append(replace(error, text=error.text + hint))

    def _test_authority(self, settings: TlsSettings, attempt: Callable[[str, Callable[[], Any]], Any]) -> Any:
        """The authority that signs wrong certificates, or None after an error."""
        from echod.tls.certificates import read_test_authority, test_authority

        if (file := settings.test_ca) is None:
            return test_authority()
        return attempt("test-ca", lambda: read_test_authority(file, settings.test_ca_key))

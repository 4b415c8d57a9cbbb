"""Certificates as they arrive from a form: PEM, whose line breaks a one-line input has turned into spaces."""

import re
import ssl

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)


def certificates_in(text: str) -> str:
    """Return the certificates in `text` as PEM. Raises ValueError."""
    bodies = ["".join(body.replace("\\n", "").split()) for body in _BLOCK.findall(text)]
    if not bodies:
        raise ValueError(
            "holds no certificate; paste PEM, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"
        )
    pem = "\n".join(f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----" for body in bodies)
    try:
        ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise ValueError("holds a certificate that cannot be read; paste it whole, as PEM") from None
    return pem

"""The signatures of user tokens: PyJWT and cryptography, imported only if a tenant has signed visitors."""

import base64
import binascii
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from service.errors import ServiceError, UserTokenExpired, UserTokenInvalid
from service.store.records import Tenant
from service.variables import read_variable

MIN_SECRET_BYTES = 32  # RFC 7518, section 3.2


def signed_claims(token: str, tenant: Tenant, leeway: float) -> dict[str, Any]:
    """The claims of a token that the tenant's key signed and that is valid now. Raises like `user_tokens.verify`."""
    key, algorithm = _key_of(tenant)
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            leeway=leeway,
            options={"require": ["exp", "sub"], "verify_aud": False},
        )
    except jwt.ExpiredSignatureError:
        raise UserTokenExpired("expired") from None
    except jwt.MissingRequiredClaimError as error:
        raise UserTokenInvalid("a claim is missing", detail=f"The user token has no {error.claim}.") from None
    except jwt.ImmatureSignatureError:
        raise UserTokenInvalid("not valid yet", detail="The user token is not valid yet (nbf or iat).") from None
    except jwt.PyJWTError as error:  # whose text may contain parts of the token
        raise UserTokenInvalid(type(error).__name__) from None
    return claims


def parse_public_key(pem: str) -> str:
    """An Ed25519 public key as one line: the base64 of its PEM. Raises ValueError."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is not a public key in PEM form") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("is not an Ed25519 key")
    return base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def _key_of(tenant: Tenant) -> tuple[Ed25519PublicKey | str, str]:
    """The key to verify with, and the only algorithm allowed with it."""
    if tenant.identity_public_key:
        return _load(tenant.identity_public_key), "EdDSA"
    if tenant.identity_secret_env:
        try:
            secret = read_variable(tenant.identity_secret_env)
        except ValueError as error:
            raise ServiceError(f"the secret for user tokens: {error}") from None
        if len(secret.encode()) < MIN_SECRET_BYTES:
            raise ServiceError(
                f"{tenant.identity_secret_env} of the environment has less than {MIN_SECRET_BYTES} bytes"
            )
        return secret, "HS256"
    raise UserTokenInvalid("the tenant checks no tokens", detail="No secret or key for user tokens is set up here.")


def _load(public_key: str) -> Ed25519PublicKey:
    try:
        key = load_der_public_key(base64.b64decode(public_key))
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        raise ServiceError("the tenant's public key for user tokens cannot be read") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ServiceError("the tenant's public key for user tokens is of another kind")
    return key

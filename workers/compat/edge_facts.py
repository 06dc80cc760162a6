"""`request.cf` of a locally served request: what Cloudflare's edge would know, with wrangler's stand-in values.

https://developers.cloudflare.com/workers/runtime-apis/request/#incomingrequestcfproperties
"""

from __future__ import annotations

from workers.compat.proxies import JsDict

__all__ = ["local_cf"]

_NO_CERTIFICATE = {
    "certIssuerDNLegacy": "",
    "certIssuerDN": "",
    "certPresented": "0",
    "certSubjectDNLegacy": "",
    "certSubjectDN": "",
    "certNotBefore": "",
    "certNotAfter": "",
    "certSerial": "",
    "certFingerprintSHA1": "",
    "certVerified": "NONE",
}


def local_cf(client_accept_encoding: str) -> JsDict:
    """Return a fresh `cf` object; everything in it is a constant but the client's Accept-Encoding."""
    return JsDict(
        asOrganization="",
        asn=395747,
        botManagement=JsDict(
            corporateProxy=False, verifiedBot=False, staticResource=False, detectionIds=JsDict(), score=99
        ),
        city="Austin",
        clientAcceptEncoding=client_accept_encoding,
        clientTcpRtt=0,
        clientTrustScore=99,
        colo="DFW",
        continent="NA",
        country="US",
        edgeRequestKeepAliveStatus=0,
        httpProtocol="HTTP/1.1",
        latitude="30.27130",
        longitude="-97.74260",
        metroCode="635",
        postalCode="78701",
        region="Texas",
        regionCode="TX",
        requestPriority="weight=192;exclusive=0",
        timezone="America/Chicago",
        tlsCipher="AEAD-AES128-GCM-SHA256",
        tlsClientAuth=JsDict(_NO_CERTIFICATE),
        tlsVersion="TLSv1.3",
    )

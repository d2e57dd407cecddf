// Tells a TLS inspecting proxy from a CA that was forgotten: the same unknown authority answers for hosts that have
// nothing to do with each other. A name that such products use is only a hint and is said as one.

export type UnknownIssuer = {
  /** Without a port. */
  readonly host: string
  /** See ChainAnswer.unexpectedIssuer. */
  readonly issuer: string
}

/** Another host for which the same unknown authority answers, although the two belong to different domains. */
export function sameIssuerElsewhere(mine: UnknownIssuer, others: readonly UnknownIssuer[]): string | undefined {
  return others.find(({ host, issuer }) => issuer === mine.issuer && domainOf(host) !== domainOf(mine.host))?.host
}

/** The last two labels. Coarse for names such as example.co.uk, where it only makes the answer more cautious. */
function domainOf(host: string): string {
  return host.toLowerCase().split('.').slice(-2).join('.')
}

const PRODUCTS =
  /zscaler|fortinet|fortigate|palo ?alto|blue ?coat|netskope|cisco umbrella|mcafee|skyhigh|sophos|squid|mitmproxy|check ?point|websense|forcepoint|barracuda|untangle|kaspersky|avast|eset ssl|charles proxy|fiddler|watchguard|sonicwall|cato networks/i

export function namesInspectionProduct(issuer: string): boolean {
  return PRODUCTS.test(issuer)
}

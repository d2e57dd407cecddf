// What each finding means and its likely causes, for docs/findings.md; the remedy comes from the table of the code.
import type { FindingCode } from '../../agent/model/finding.ts'

export type Text = { readonly meaning: string; readonly causes: string }

export const FINDING_TEXTS: { readonly [code in FindingCode]: Text } = {
  trusted: { meaning: 'containerd verified the certificate and got an answer.', causes: 'Everything is as declared.' },
  'unknown-authority': {
    meaning: 'No trusted CA issued the certificate.',
    causes: 'The CA is not declared, was replaced, or has a new key; the server sends no intermediate.',
  },
  'hostname-mismatch': {
    meaning: 'The certificate is for other names.',
    causes: 'An alias, an address instead of a name, a default virtual host.',
  },
  expired: {
    meaning: 'The certificate, or that of its CA, has expired.',
    causes: 'A renewal was missed; the clock of the node is ahead.',
  },
  'not-yet-valid': {
    meaning: 'The certificate is valid only later.',
    causes: 'The clock of the node or of the CA is wrong.',
  },
  'missing-intermediate': {
    meaning: 'The server does not send the certificate between its own and the declared CA.',
    causes: 'The server is configured with its own certificate alone.',
  },
  'no-san': {
    meaning: 'The certificate has no subjectAltName for this name.',
    causes: 'It was issued with a common name alone.',
  },
  'weak-signature': { meaning: 'The certificate is signed with SHA-1 or MD5.', causes: 'An old CA.' },
  'tls-version': {
    meaning: 'containerd and the server have no TLS version or cipher in common.',
    causes: 'The server offers TLS 1.1 at most, or a key that Go does not support.',
  },
  'client-certificate-required': {
    meaning: 'The server demands a client certificate.',
    causes: 'Mutual TLS; nginx answers 400 in that case.',
  },
  'plain-http': {
    meaning: 'The port speaks HTTP without TLS.',
    causes: 'The port of the unencrypted listener was given.',
  },
  unauthorized: {
    meaning: 'TLS is trusted; the registry demands a login.',
    causes: 'No credentials are declared for the proof.',
  },
  'login-refused': { meaning: 'The declared login is refused.', causes: 'A wrong or changed password.' },
  'login-expired': { meaning: 'The declared token has expired.', causes: 'A short-lived token that nothing renews.' },
  'login-untried': {
    meaning: 'The login was not tried.',
    causes: 'The token service is not trusted, or does not answer.',
  },
  forbidden: {
    meaning: 'TLS is trusted; the pull is refused (403).',
    causes: 'The account lacks the right; a deny rule.',
  },
  'not-found': {
    meaning: 'TLS is trusted; the image does not exist.',
    causes: 'proof.image names an image that was removed.',
  },
  'rate-limited': { meaning: 'The registry limits requests (429).', causes: 'Many anonymous pulls from one address.' },
  'server-error': {
    meaning: 'The registry answers with a server error (5xx).',
    causes: 'Its database or storage is down; maintenance.',
  },
  dns: {
    meaning: 'The name cannot be resolved.',
    causes: 'A typing error, a missing record, a resolver that is down.',
  },
  'cluster-dns': {
    meaning: 'The name cannot be resolved on the node, and is one that only the DNS of the cluster knows.',
    causes: 'The name of a Service (`*.svc`, `*.svc.cluster.local`), or a name without a domain.',
  },
  refused: {
    meaning: 'No connection: nothing listens there, or there is no route.',
    causes: 'The registry is down, a wrong port, a rejecting firewall.',
  },
  'connection-closed': {
    meaning: 'The connection was closed or reset without an answer.',
    causes: 'SNI routing without this name, a firewall, a load balancer without a backend.',
  },
  timeout: {
    meaning: 'No answer in time.',
    causes: 'A firewall that drops packets, an overloaded registry, a proxy that is needed.',
  },
  'proxy-interception': {
    meaning: 'A device on the network path presents a certificate of its own.',
    causes: 'TLS inspection.',
  },
  'proxy-error': {
    meaning: 'A proxy refuses the connection, or answers itself.',
    causes: "The proxy of containerd's unit wants a login or forbids the host; an error page of a proxy on the way.",
  },
  'not-tls': { meaning: 'The port speaks neither TLS nor HTTP.', causes: 'SSH, SMTP or a database on that port.' },
  'plain-http-redirect': {
    meaning: 'The registry sends containerd to an http:// address.',
    causes: 'TLS ends at a proxy before the registry, and the registry does not know its external URL.',
  },
  'login-page': {
    meaning: 'A web page answers instead of the registry API.',
    causes:
      'Single sign-on or a captive portal before the registry; the host of a user interface; a default web server.',
  },
  'redirect-loop': { meaning: 'The redirects do not end.', causes: 'Two redirect rules that undo each other.' },
  'not-a-registry': {
    meaning: 'The server answers, but not as a registry.',
    causes: 'Another host, port or path; a web server without the /v2/ route.',
  },
  'registry-warning': {
    meaning:
      'The registry sends a warning with its answer (HTTP header `Warning` with code 299). `probe` shows it beside the verdict.',
    causes: 'Something that the operator of the registry will change: a host name, a limit, an old version of the API.',
  },
  'token-host-untrusted': {
    meaning: 'The token service has a certificate that is not trusted.',
    causes: 'It has another CA than the registry.',
  },
  'blob-host-untrusted': {
    meaning: 'The host that serves the layers is not trusted.',
    causes: 'Object storage with another CA than the registry.',
  },
  'ca-file-unreadable': {
    meaning: 'containerd cannot read a CA file or key that hosts.toml names.',
    causes: 'The file was removed, emptied or is not PEM.',
  },
  'hosts-file-ignored': {
    meaning: 'containerd does not use hosts.toml.',
    causes: 'config_path is not loaded; the file does not parse.',
  },
  'bad-credentials-file': {
    meaning: 'The declared credentials cannot be read.',
    causes: 'Not JSON, not base64, no entry for the host.',
  },
  'sandbox-image-missing': {
    meaning: 'The sandbox (pause) image is not on the node.',
    causes: 'Image garbage collection; its registry is not reachable.',
  },
  'containerd-down': { meaning: 'containerd does not answer.', causes: 'It is stopped or restarting.' },
  'cri-not-loaded': {
    meaning: 'containerd runs without CRI.',
    causes: 'config.toml disables the CRI plugin, or the plugin did not load.',
  },
  'no-space': { meaning: 'The disk of the node is full.', causes: 'Images, logs.' },
  'not-proved-yet': { meaning: 'No proof has finished yet.', causes: 'The agent has just started.' },
  unclassified: {
    meaning: "The agent does not know containerd's error text.",
    causes: 'See the text in the evidence.',
  },
}

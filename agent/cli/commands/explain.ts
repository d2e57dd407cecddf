// `registry-trust explain IMAGE`: what a pull of the image uses here, in order, and where it fails.
import { type Explanation, explainImage } from '../../diagnose/explain-image.ts'
import { harmless, type Paint } from '../output/terminal.ts'
import type { Wiring } from '../wiring.ts'

export async function explainCommand({ options, ports, loadConfig, paint, print }: Wiring): Promise<number> {
  const loaded = await loadConfig()
  const [image = ''] = options.operands
  const explanation = await explainImage(
    { image, desired: loaded.ok ? loaded.desired : undefined, address: options.containerdAddress },
    ports,
  )
  print(options.json ? `${JSON.stringify(explanation, null, 2)}\n` : format(explanation, paint))
  return explanation.finding.code === 'trusted' ? 0 : 3
}

function format(
  { image, host, containerd, lookedFor, hostsFile, ignored, endpoints, proxy, credentials, finding }: Explanation,
  paint: Paint,
): string {
  const lines = [
    `${image}`,
    `  host         ${host}`,
    `  containerd   ${containerd.version}, ${containerd.configFile}`,
    `  config_path  ${containerd.configPath ?? 'not set: containerd reads no host directories'}`,
    ...lookedFor.map((path, index) => `  ${index === 0 ? 'looks for    ' : '             '}${path}`),
    `  hosts.toml   ${hostsFile ?? 'none'}`,
    ...ignored.map((text) => `  ${paint('yellow', 'ignored')}      ${harmless(text)}`),
    ...(proxy === null ? [] : [`  proxy        ${harmless(proxy)}`]),
    ...credentials.map((text, index) => `  ${index === 0 ? 'credentials  ' : '             '}${harmless(text)}`),
    ...endpoints.flatMap(({ url, ca, skipVerify, capabilities, clientCertificate, finding: verdict }, index) => [
      `  ${index + 1}. ${harmless(url)} (${capabilities.join(', ')})`,
      `     trusts ${skipVerify ? paint('red', 'anything: verification is off') : ca.length === 0 ? 'the roots of the system' : `${ca.map(harmless).join(', ')} and the roots of the system`}`,
      ...(clientCertificate ? ['     sends a client certificate'] : []),
      ...(verdict === null
        ? ['     verifies nothing']
        : [
            `     ${paint(verdict.code === 'trusted' ? 'green' : 'yellow', verdict.code)}: ${harmless(verdict.message)}`,
          ]),
    ]),
    `  ${paint(finding.code === 'trusted' ? 'green' : 'red', finding.code)}: ${harmless(finding.message)}`,
    ...(finding.code === 'trusted' ? [] : [`    fix: ${harmless(finding.remedy)}`]),
  ]
  return `${lines.join('\n')}\n`
}

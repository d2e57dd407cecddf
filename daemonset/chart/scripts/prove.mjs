// `helm test`: asks every agent of the release what its node's containerd said about each registry. A registry counts as proved when the node
// itself pulled from it (trusted), or, with profiles without a socket, when a private copy of its containerd did (rehearsed).
// Where the agents serve HTTPS, the certificate of the release's Secret is trusted, and no other.
// environment: AGENTS (a name with the address of every agent), REGISTRIES (host,host; none: all), TIMEOUT_SECONDS,
// TLS_CERT_FILE (PEM of what the agents serve with; without the file they serve HTTP)
import { lookup } from 'node:dns/promises'
import { existsSync, readFileSync } from 'node:fs'
import { get as getPlain } from 'node:http'
import { get as getSecure } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'

const { AGENTS = '', PORT = '9461', REGISTRIES = '', TIMEOUT_SECONDS = '120', TLS_CERT_FILE = '' } = process.env
const PROVED = ['trusted', 'rehearsed']
const ASK_EVERY_MS = 2_000
const ANSWER_WITHIN_MS = 5_000

/** The addresses of all agents; none is an answer too. */
async function agents() {
  try {
    return (await lookup(AGENTS, { all: true })).map(({ address }) => address)
  } catch {
    return []
  }
}

/** It is this very certificate, whatever names it is for: agents are asked by the address of their Pod. */
function trust() {
  if (!existsSync(TLS_CERT_FILE)) return undefined
  return { ca: readFileSync(TLS_CERT_FILE), allowPartialTrustChain: true, checkServerIdentity: () => undefined }
}

/** Status code and text of GET /status. */
function status(host) {
  const secure = trust()
  const get = secure === undefined ? getPlain : getSecure
  const options = { host, port: PORT, path: '/status', signal: AbortSignal.timeout(ANSWER_WITHIN_MS), ...secure }
  return new Promise((resolve, reject) => {
    const request = get(options, async (answer) => {
      try {
        resolve({ code: answer.statusCode, text: (await answer.toArray()).join('') })
      } catch (error) {
        reject(error)
      }
    })
    request.on('error', reject)
  })
}

/** One line for each registry of the node, or one that says why there is none. */
async function ask(address) {
  try {
    const { code, text } = await status(address)
    if (code !== 200) return [{ ok: false, line: `${address}: the agent answers ${code}` }]
    const { node, registries } = JSON.parse(text)
    const asked = REGISTRIES.split(',').filter((name) => name !== '')
    const wanted = asked.length === 0 ? registries.map(({ host: name }) => name) : asked
    if (wanted.length === 0) return [{ ok: false, line: `${node}: trust.yaml declares no registry, so nothing is proved` }]
    return wanted.map((name) => {
      const registry = registries.find(({ host: known }) => known === name)
      if (registry === undefined) return { ok: false, line: `${node}: ${name} is not declared in trust.yaml` }
      const { state, finding } = registry
      const told = finding?.message === undefined ? '' : `: ${finding.message}`
      return { ok: PROVED.includes(state), line: `${node}: ${name}: ${state}${PROVED.includes(state) ? '' : told}` }
    })
  } catch (error) {
    return [{ ok: false, line: `${address}: the agent does not answer: ${error.cause?.message ?? error.message}` }]
  }
}

const until = Date.now() + Number(TIMEOUT_SECONDS) * 1_000
for (;;) {
  const addresses = await agents()
  const answers = (await Promise.all(addresses.map(ask))).flat()
  const isProved = answers.length > 0 && answers.every(({ ok }) => ok)
  if (isProved || Date.now() > until) {
    for (const { ok, line } of answers) console.log(`${ok ? 'ok    ' : 'NOT OK'} ${line}`)
    if (answers.length === 0)
      console.log(`NOT OK no agent runs: ${AGENTS} has no address. Is there a node for it (nodeSelector), and does its Pod start?`)
    if (isProved) console.log(`every registry is proved on ${addresses.length} ${addresses.length === 1 ? 'node' : 'nodes'}`)
    process.exit(isProved ? 0 : 1)
  }
  await sleep(ASK_EVERY_MS)
}

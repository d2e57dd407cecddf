// Ties fixture nodes to tap: one test for each containerd generation, nodes that go with their test, and a loud skip, which is a
// failure where CI=true, for whatever this machine could not fetch.
import type { Test } from 'tap'
import { findGenerations, fixturesUnavailable, type Generation } from './generations.ts'
import { type SandboxNode, type SandboxNodeOptions, startSandboxNode } from './sandbox-node.ts'
import { type SystemdNode, type SystemdNodeOptions, startSystemdNode, systemdNodeUnavailable } from './systemd-node.ts'

/** A file of node tests boots many nodes; on a small busy machine tap's own limit is too near. */
const FILE_TIMEOUT_MS = 480_000

type Body = (t: Test, generation: Generation) => Promise<void>

/** Runs `body` on every generation; `t` is tap itself or a test. */
export function eachGeneration(t: Test, title: string, body: Body): void {
  const unavailable = fixturesUnavailable()
  if (unavailable !== undefined) {
    missing(t, title, unavailable)
    return
  }
  t.setTimeout(FILE_TIMEOUT_MS)
  const { found, missing: suites } = findGenerations()
  for (const generation of found) {
    t.test(`${title} (containerd ${generation.label})`, async (sub) => await body(sub, generation))
  }
  for (const suite of suites) missing(t, title, `containerd of ${suite} was not fetched: run scripts/install-fixtures`)
}

/** Runs `body` on the newest generation alone: for what does not depend on the version. */
export function newestGeneration(t: Test, title: string, body: Body): void {
  const newest = fixturesUnavailable() === undefined ? findGenerations().found.at(-1) : undefined
  if (newest === undefined)
    missing(t, title, fixturesUnavailable() ?? 'no containerd was fetched: run scripts/install-fixtures')
  else t.test(title, async (sub) => await body(sub, newest))
}

/** Like eachGeneration, where the systemd node's tree is needed too. */
export function eachSystemdGeneration(t: Test, title: string, body: Body): void {
  const unavailable = systemdNodeUnavailable()
  if (unavailable === undefined) eachGeneration(t, title, body)
  else missing(t, title, unavailable)
}

/** Like newestGeneration, where the systemd node's tree is needed too. */
export function newestSystemdGeneration(t: Test, title: string, body: Body): void {
  const unavailable = systemdNodeUnavailable()
  if (unavailable === undefined) newestGeneration(t, title, body)
  else missing(t, title, unavailable)
}

/** A sandbox node that lives as long as its test. */
export async function sandboxNode(t: Test, options: SandboxNodeOptions): Promise<SandboxNode> {
  const node = await startSandboxNode(options)
  t.teardown(async () => await node.dispose())
  return node
}

/** A systemd node that lives as long as its test. */
export async function systemdNode(t: Test, options: SystemdNodeOptions): Promise<SystemdNode> {
  const node = await startSystemdNode(options)
  t.teardown(async () => await node.dispose())
  return node
}

function missing(t: Test, title: string, reason: string): void {
  process.stderr.write(`# NOT TESTED: ${title}: ${reason}\n`)
  t.test(title, process.env['CI'] === 'true' ? {} : { skip: reason }, async (sub) => {
    sub.fail(reason)
  })
}

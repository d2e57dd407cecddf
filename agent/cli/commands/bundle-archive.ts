// The archive of `registry-trust support-bundle`, of a node or of the fleet: parts are made, redacted, listed, and written
// as one .tar.gz.
import { gzipSync } from 'node:zlib'
import { Redaction } from '../../diagnose/support/redaction.ts'
import { asAgentError } from '../../model/errors.ts'
import { tarOf } from '../../text/tar.ts'
import { harmless, table } from '../output/terminal.ts'
import type { Wiring } from '../wiring.ts'

export type Part = { readonly name: string; readonly what: string; readonly make: () => Promise<unknown> }

/** Prints what the archive holds, then writes it. A part that is not available does not stop the others. */
export async function writeBundle(wiring: Wiring, subject: string, parts: readonly Part[]): Promise<number> {
  const { options, ports, note, outputFile, print, printBytes } = wiring
  const now = ports.clock.now()
  const folder = `registry-trust-support-${subject}-${timeIn(now)}`.replaceAll(/[^A-Za-z0-9._-]/g, '_').slice(0, 80)
  const entries = await collect(parts)
  const isPiped = options.output === '-'
  const tell = isPiped ? note : print
  tell(contents(entries))
  const archive = tarOf(
    entries.map(({ name, bytes }) => ({ name: `${folder}/${name}`, bytes })),
    now,
  )
  const bytes = gzipSync(archive)
  if (isPiped) printBytes(bytes)
  else {
    const path = options.output ?? `${folder}.tar.gz`
    await outputFile(path, bytes)
    print(`\nwritten to ${path}, ${bytes.length} bytes; look through it before you share it\n`)
  }
  return 0
}

/** 20261126T214500Z */
function timeIn(now: number): string {
  return new Date(now).toISOString().replaceAll(/[-:]|\.\d+/g, '')
}

export async function versionsOf({ version, node, options, files }: Wiring): Promise<object> {
  const release = await files.readFollowing('/etc/os-release')
  const os = release.kind === 'file' ? /^PRETTY_NAME="?([^"\n]*)/m.exec(release.bytes.toString('utf8'))?.[1] : undefined
  return { agent: version, node, runtime: process.versions.node, arch: process.arch, os, options }
}

type Entry = { readonly name: string; readonly what: string; readonly bytes: Buffer; readonly missing?: string }

async function collect(parts: readonly Part[]): Promise<readonly Entry[]> {
  const redaction = new Redaction()
  const made: { readonly part: Part; readonly value: unknown; readonly missing?: string }[] = []
  for (const part of parts) {
    try {
      const value = await part.make()
      const given = typeof value === 'string' ? value : redaction.tree(value)
      made.push(value === undefined ? { part, value: '', missing: 'there is none' } : { part, value: given })
    } catch (thrown) {
      made.push({ part, value: '', missing: asAgentError(thrown).message })
    }
  }
  return made.map(({ part: { name, what }, value, missing }) => {
    if (missing !== undefined) {
      const reason = redaction.text(missing)
      return { name, what, missing: reason, bytes: Buffer.from(`${JSON.stringify({ missing: reason }, null, 2)}\n`) }
    }
    const text =
      typeof value === 'string' ? redaction.text(value) : `${JSON.stringify(redaction.texts(value), null, 2)}\n`
    return { name, what, bytes: Buffer.from(text) }
  })
}

function contents(entries: readonly Entry[]): string {
  const rows = entries.map(({ name, what, bytes, missing }) => {
    return [name, `${bytes.length} bytes`, missing === undefined ? what : `not available: ${harmless(missing)}`]
  })
  return `The archive holds, without secrets:\n${table(rows, { indent: 2 })}`
}

// What a node leaves on the machine: looked for by its pid namespace, its network namespace and its name, which is in every path it makes.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { dirname } from 'node:path'
import type { FixtureNode } from './fixture-node.ts'

export type Traces = { readonly name: string; readonly scratchBase: string; readonly namespaces: readonly string[] }

/** Remembers, while the node lives, by what its remains can be known. */
export function tracesOf(node: FixtureNode): Traces {
  const namespaces = ['pid', 'net', 'mnt'].map((kind) => readlinkSync(`/proc/${node.pid}/ns/${kind}`))
  return { name: node.name, scratchBase: dirname(node.scratch), namespaces }
}

/** One line for each process, mount, cgroup and folder that is still there. */
export function leftovers(traces: Traces): readonly string[] {
  return [...processes(traces), ...mounts(traces), ...cgroups(traces), ...folders(traces)]
}

function processes({ namespaces, name }: Traces): readonly string[] {
  const pids = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))
  return pids.flatMap((pid) => {
    try {
      const own = ['pid', 'net', 'mnt'].map((kind) => readlinkSync(`/proc/${pid}/ns/${kind}`))
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      return own.some((id) => namespaces.includes(id)) || command.includes(name) ? [`process ${pid}: ${command}`] : []
    } catch {
      // it ended while we looked
      return []
    }
  })
}

function mounts({ name }: Traces): readonly string[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  return lines.filter((line) => line.includes(name)).map((line) => `mount: ${line}`)
}

function cgroups({ name }: Traces): readonly string[] {
  const mountPoints = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , type]) => type === 'cgroup' || type === 'cgroup2')
    .map(([, point]) => point ?? '')
  return mountPoints.filter((point) => readdirSync(point).includes(name)).map((point) => `cgroup: ${point}/${name}`)
}

function folders({ name, scratchBase }: Traces): readonly string[] {
  const found = readdirSync(scratchBase).filter((entry) => entry.startsWith(name))
  return found.map((entry) => `folder: ${scratchBase}/${entry}`)
}

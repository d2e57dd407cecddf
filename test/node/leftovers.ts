// What a node leaves on the machine: looked for by its namespaces and by its name, which is in every path it makes.
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { basename, dirname } from 'node:path'

const KINDS = ['pid', 'net', 'mnt'] as const

export type Traces = {
  readonly name: string
  readonly scratch: string
  readonly namespaces: readonly string[]
  close(): void
}

/** Remembers, while the node lives, by what its remains can be known. */
export function tracesOf(node: { readonly name: string; readonly pid: number; readonly scratch: string }): Traces {
  const files = KINDS.map((kind) => `/proc/${node.pid}/ns/${kind}`)
  const namespaces = files.map((file) => readlinkSync(file))
  // the kernel gives the number of a namespace that is gone to the next one made, perhaps another test's: an open file keeps it taken
  const held = files.map((file) => openSync(file, 'r'))
  return { name: node.name, scratch: node.scratch, namespaces, close: () => held.forEach((fd) => void closeSync(fd)) }
}

/** One line for each process, mount, cgroup and folder that is still there. */
export function leftovers(traces: Traces): readonly string[] {
  return [...processes(traces), ...mounts(traces), ...cgroups(traces), ...folders(traces)]
}

function processes({ namespaces, name }: Traces): readonly string[] {
  const pids = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))
  return pids.flatMap((pid) => {
    try {
      const own = KINDS.map((kind) => readlinkSync(`/proc/${pid}/ns/${kind}`))
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

function folders({ scratch }: Traces): readonly string[] {
  return readdirSync(dirname(scratch)).includes(basename(scratch)) ? [`folder: ${scratch}`] : []
}

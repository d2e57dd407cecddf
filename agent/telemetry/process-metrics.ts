// The standard process_* metrics under their usual names, read only when somebody scrapes. prom-client's own set is not
// used: its event loop histogram wakes the process a hundred times a second, on every node.
import { readdirSync, readFileSync } from 'node:fs'
import { Counter, Gauge, type Registry } from 'prom-client'

const MICROSECONDS = 1e6

export function registerProcessMetrics(registry: Registry): void {
  registerCpu(registry)
  gauge(registry, 'process_start_time_seconds', 'Start time of the process since unix epoch in seconds.', startTime())
  gauge(registry, 'process_resident_memory_bytes', 'Resident memory size in bytes.', () => process.memoryUsage.rss())
  gauge(registry, 'process_open_fds', 'Number of open file descriptors.', openFileDescriptors)
  gauge(registry, 'process_max_fds', 'Maximum number of open file descriptors.', maxFileDescriptors())
  gauge(
    registry,
    'nodejs_heap_size_used_bytes',
    'Process heap size used from Node.js in bytes.',
    () => process.memoryUsage().heapUsed,
  )
}

function registerCpu(registry: Registry): void {
  let last = { user: 0, system: 0 }
  // The collecting one is registered first: prom-client reads the metrics in this order, so that all three are of one
  // instant.
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'Total user and system CPU time spent in seconds.',
    registers: [registry],
    collect() {
      const usage = process.cpuUsage()
      user.inc((usage.user - last.user) / MICROSECONDS)
      system.inc((usage.system - last.system) / MICROSECONDS)
      this.inc((usage.user - last.user + usage.system - last.system) / MICROSECONDS)
      last = usage
    },
  })
  const user = new Counter({
    name: 'process_cpu_user_seconds_total',
    help: 'Total user CPU time spent in seconds.',
    registers: [registry],
  })
  const system = new Counter({
    name: 'process_cpu_system_seconds_total',
    help: 'Total system CPU time spent in seconds.',
    registers: [registry],
  })
}

function gauge(
  registry: Registry,
  name: string,
  help: string,
  value: number | undefined | (() => number | undefined),
): void {
  const read = typeof value === 'function' ? value : () => value
  const metric: Gauge = new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      const current = read()
      if (current === undefined) metric.remove()
      else metric.set(current)
    },
  })
}

function startTime(): number {
  return Math.round(Date.now() / 1000 - process.uptime())
}

/** Undefined outside Linux, where there is no /proc. */
function openFileDescriptors(): number | undefined {
  try {
    // One of them is the folder being read.
    return readdirSync('/proc/self/fd').length - 1
  } catch {
    return undefined
  }
}

function maxFileDescriptors(): number | undefined {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    return soft === undefined ? undefined : Number(soft)
  } catch {
    return undefined
  }
}

// A real Prometheus on loopback that scrapes a few times a second, and promtool; both unpacked by scripts/install-fixtures.
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import type { FixtureNode } from '../node/fixture-node.ts'
import { cacheFolder } from '../node/generations.ts'

/** Throws with the cure where there is none: a monitoring that was never loaded must not pass. */
export function program(name: 'prometheus' | 'promtool'): string {
  const places = [join(cacheFolder(), 'tools/prometheus/usr/bin', name), `/usr/bin/${name}`]
  const found = places.find((place) => existsSync(place))
  if (found === undefined) throw new Error(`${name} is not on this machine: run scripts/install-fixtures`)
  return found
}

/** What promtool printed; throws with it when promtool is not content. */
export async function promtool(...args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(program('promtool'), args, { maxBuffer: 64 << 20 }).catch(
    (error: { stdout?: string; stderr?: string }) => {
      throw new Error(`promtool ${args.slice(0, 2).join(' ')}:\n${error.stdout ?? ''}${error.stderr ?? String(error)}`)
    },
  )
  return stdout + stderr
}

export type Target = {
  readonly job: string
  readonly address: string
  readonly labels: { readonly [name: string]: string }
}

export type FiringAlert = {
  readonly labels: { readonly [name: string]: string }
  readonly annotations: { readonly [name: string]: string }
}

export type Sample = { readonly metric: { readonly [name: string]: string }; readonly value: readonly [number, string] }

export type Prometheus = {
  /** So many targets are up, and every rule was evaluated since. */
  scraped(targets: number): Promise<void>
  alerts(): Promise<readonly FiringAlert[]>
  query(expr: string): Promise<readonly Sample[]>
}

const READY_MS = 60_000

/** Where Prometheus runs: here, or in the network of a fixture node. */
export type Place = {
  /** Ends with the test; answers whether it still runs, and what it has said so far. */
  start(argv: readonly string[]): Promise<() => { readonly isRunning: boolean; readonly said: string }>
  get(url: string): Promise<string>
}

export type PrometheusOptions = {
  readonly targets: readonly Target[]
  /** The text of a rules file. */
  readonly rules: string
  readonly place?: Place
}

export async function startPrometheus(t: Test, options: PrometheusOptions): Promise<Prometheus> {
  const { targets, rules, place = onThisMachine(t) } = options
  const folder = t.testdir({ data: {}, 'rules.yaml': rules, 'prometheus.yaml': configuration(targets) })
  const address = `127.0.0.1:${await freePort()}`
  const process = await place.start([
    program('prometheus'),
    `--config.file=${join(folder, 'prometheus.yaml')}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    `--web.listen-address=${address}`,
    '--log.level=warn',
  ])
  const deadline = Date.now() + READY_MS
  while (!(await isReady(place, address))) {
    const { isRunning, said } = process()
    if (!isRunning || Date.now() > deadline) throw new Error(`Prometheus does not start:\n${said}`)
    await sleep(50)
  }
  const ask = <Data>(path: string) => askApi<Data>(place, address, path)
  const query = async (expr: string) =>
    (await ask<{ readonly result: readonly Sample[] }>(`query?query=${encodeURIComponent(expr)}`)).result
  return {
    query,
    async scraped(count) {
      const until = Date.now() + READY_MS
      let up: number | undefined
      for (;;) {
        if (up === undefined && (await query('up == 1')).length >= count) up = Date.now()
        const { groups } = await ask<{ readonly groups: readonly { readonly lastEvaluation: string }[] }>('rules')
        const isEvaluated = (since: number) => groups.every(({ lastEvaluation }) => Date.parse(lastEvaluation) > since)
        if (up !== undefined && isEvaluated(up)) return
        if (Date.now() > until) throw new Error('Prometheus does not scrape its targets')
        await sleep(50)
      }
    },
    async alerts() {
      const { alerts } = await ask<{ readonly alerts: readonly (FiringAlert & { readonly state: string })[] }>('alerts')
      return alerts.filter(({ state }) => state === 'firing')
    },
  }
}

/** JSON is YAML. */
function configuration(targets: readonly Target[]): string {
  const jobs = [...Map.groupBy(targets, ({ job }) => job)]
  return JSON.stringify({
    global: { scrape_interval: '500ms', scrape_timeout: '500ms', evaluation_interval: '250ms' },
    rule_files: ['rules.yaml'],
    scrape_configs: jobs.map(([job, ofJob]) => ({
      job_name: job,
      honor_labels: true,
      static_configs: ofJob.map(({ address, labels }) => ({ targets: [address], labels })),
    })),
  })
}

function onThisMachine(t: Test): Place {
  return {
    async start([command = '', ...args]) {
      const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
      let said = ''
      child.stderr.on('data', (chunk: Buffer) => {
        said += chunk.toString()
      })
      t.teardown(async () => {
        if (child.exitCode !== null) return
        const ended = once(child, 'exit')
        child.kill('SIGKILL')
        await ended
      })
      return () => ({ isRunning: child.exitCode === null, said })
    },
    async get(url) {
      const answer = await fetch(url)
      return await answer.text()
    },
  }
}

/** With the network of the node and the files of this machine; it goes with the node. */
export function besideNode(node: FixtureNode): Place {
  return {
    async start(argv) {
      const service = await node.start(argv, { place: 'neighbour' })
      let isRunning = true
      void service.exited.then(() => {
        isRunning = false
      })
      return () => ({ isRunning, said: service.stderr })
    },
    get: (url) => node.run(['curl', '--silent', '--max-time', '5', url]),
  }
}

async function isReady(place: Place, address: string): Promise<boolean> {
  const answer = await place.get(`http://${address}/-/ready`).catch(() => '')
  return answer.includes('Ready.')
}

async function askApi<Data>(place: Place, address: string, path: string): Promise<Data> {
  const body = JSON.parse(await place.get(`http://${address}/api/v1/${path}`)) as Answer<Data>
  if (body.status !== 'success') throw new Error(`${decodeURIComponent(path)}: ${body.error}`)
  return body.data
}

type Answer<Data> = { readonly status: string; readonly data: Data; readonly error?: string }

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

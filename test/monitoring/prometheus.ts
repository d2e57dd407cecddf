// A real Prometheus on loopback that scrapes a few times a second, and promtool; both unpacked by scripts/install-fixtures.
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Test } from 'tap'
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
  /** Every rule was evaluated on what has been scraped by now. */
  evaluated(): Promise<void>
  alerts(): Promise<readonly FiringAlert[]>
  query(expr: string): Promise<readonly Sample[]>
}

const READY_MS = 10_000

/** Ended with the test. `rules` is the text of a rules file. */
export async function startPrometheus(t: Test, targets: readonly Target[], rules: string): Promise<Prometheus> {
  const folder = t.testdir({ 'rules.yaml': rules })
  const jobs = [...Map.groupBy(targets, ({ job }) => job)]
  const config = {
    global: { scrape_interval: '250ms', scrape_timeout: '250ms', evaluation_interval: '250ms' },
    rule_files: ['rules.yaml'],
    scrape_configs: jobs.map(([job, ofJob]) => ({
      job_name: job,
      honor_labels: true,
      static_configs: ofJob.map(({ address, labels }) => ({ targets: [address], labels })),
    })),
  }
  // JSON is YAML.
  writeFileSync(join(folder, 'prometheus.yaml'), JSON.stringify(config))
  mkdirSync(join(folder, 'data'))
  const address = `127.0.0.1:${await freePort()}`
  const args = [
    `--config.file=${join(folder, 'prometheus.yaml')}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    `--web.listen-address=${address}`,
    '--log.level=warn',
  ]
  const child = spawn(program('prometheus'), args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let complaints = ''
  child.stderr.on('data', (chunk: Buffer) => {
    complaints += chunk.toString()
  })
  t.teardown(async () => {
    if (child.exitCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  })
  const deadline = Date.now() + READY_MS
  while (!(await isReady(address))) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error(`Prometheus does not start:\n${complaints}`)
    await sleep(50)
  }
  return {
    async evaluated() {
      const since = Date.now()
      for (;;) {
        const { groups } = await get<{ readonly groups: readonly { readonly lastEvaluation: string }[] }>(
          address,
          'rules',
        )
        if (groups.every(({ lastEvaluation }) => Date.parse(lastEvaluation) > since)) return
        if (Date.now() - since > READY_MS) throw new Error('Prometheus does not evaluate its rules')
        await sleep(50)
      }
    },
    async alerts() {
      const { alerts } = await get<{ readonly alerts: readonly (FiringAlert & { readonly state: string })[] }>(
        address,
        'alerts',
      )
      return alerts.filter(({ state }) => state === 'firing')
    },
    query: async (expr) =>
      (await get<{ readonly result: readonly Sample[] }>(address, `query?query=${encodeURIComponent(expr)}`)).result,
  }
}

async function isReady(address: string): Promise<boolean> {
  const answer = await fetch(`http://${address}/-/ready`).catch(() => undefined)
  await answer?.text()
  return answer?.ok === true
}

async function get<Data>(address: string, path: string): Promise<Data> {
  const answer = await fetch(`http://${address}/api/v1/${path}`)
  const body = (await answer.json()) as { readonly status: string; readonly data: Data; readonly error?: string }
  if (body.status !== 'success') throw new Error(`${decodeURIComponent(path)}: ${body.error}`)
  return body.data
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

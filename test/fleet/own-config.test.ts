import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { loadDesiredState } from '../../agent/config/load.ts'
import { loadOwnSettings } from '../../agent/config/own-settings.ts'
import type { Controller } from '../../agent/fleet/controller.ts'
import { createOwnConfig } from '../../agent/fleet/own-config.ts'
import { createFleetMetrics } from '../../agent/fleet/report/metrics.ts'
import { fleetReport } from '../../agent/fleet/report/report.ts'
import { fleetVerdict } from '../../agent/fleet/report/report-words.ts'
import { type Problem, problem } from '../../agent/model/errors.ts'
import { DEFAULT_FLEET } from '../../agent/model/fleet.ts'
import { inputFiles } from '../../agent/node/files/input-files.ts'
import { lineOf, rollingOut, WELL } from '../fixtures/fleet/pictures.ts'
import { SILENT } from '../fixtures/scratch/carry-out.ts'

const FLEET = 'fleet:\n  touchesPerSecond: 7\n'
const NO_FILE = `anchors:\n  corp: {file: not-mounted-here.pem}\nregistries:\n  - {host: harbor.example.net, anchors: [corp]}\n`
const PUBLISH = 'publish:\n  configMaps: [{namespace: apps, name: trust}]\n'

function ownConfig(t: Test, text: string, refused?: Problem) {
  const folder = t.testdir({ 'trust.yaml': text })
  const files = inputFiles({ freshMs: 0 })
  const config = createOwnConfig({
    loadConfig: async () =>
      refused === undefined
        ? await loadDesiredState({ paths: [folder], files, now: Date.now() })
        : { ok: false, problems: [refused] },
    loadOwnSettings: () => loadOwnSettings([folder], files),
    log: SILENT,
  })
  return { config, declare: (next: string) => writeFileSync(join(folder, 'trust.yaml'), next) }
}

t.test('the section fleet counts although the CA files of the agents are not there', async (t) => {
  const { config } = ownConfig(t, FLEET + NO_FILE)
  t.same(config.settings(), DEFAULT_FLEET)
  await config.read()
  t.equal(config.settings().touchesPerSecond, 7)
  t.equal(config.problem(), undefined)
  const refused = problem('ANCHOR_FORBIDDEN', 'an anchor says no')
  const other = ownConfig(t, FLEET + NO_FILE, refused).config
  await other.read()
  t.same([other.settings().touchesPerSecond, other.problem()], [7, undefined], 'whatever is wrong with anchors')
  const publishing = ownConfig(t, FLEET + NO_FILE + PUBLISH, refused).config
  await publishing.read()
  t.match(publishing.problem(), /are not renewed.*: an anchor says no/)
})

t.test('what cannot be published for want of a CA file is a problem', async (t) => {
  const { config } = ownConfig(t, FLEET + NO_FILE + PUBLISH)
  await config.read()
  t.equal(config.settings().touchesPerSecond, 7)
  t.match(config.problem(), /^ConfigMaps of the section publish are not renewed.*not-mounted-here\.pem/)
})

t.test('a trust.yaml that is not valid leaves the last one in force, or the defaults, and says which', async (t) => {
  const { config, declare } = ownConfig(t, 'fleet: {touchesPerSecond: none}\n')
  await config.read()
  t.same(config.settings(), DEFAULT_FLEET)
  t.match(config.problem(), /the defaults of the section fleet are in force: .*touchesPerSecond/)
  declare(FLEET)
  await config.read()
  t.same([config.settings().touchesPerSecond, config.problem()], [7, undefined])
  declare('fleet: [')
  await config.read()
  t.equal(config.settings().touchesPerSecond, 7)
  t.match(config.problem(), /its last valid version is in force/)
})

t.test('the problem is told by the metric, by GET /fleet and by the sentence of the page', async (t) => {
  const picture = { ...rollingOut(0), lines: [lineOf('n1', WELL)], configProblem: 'trust.yaml is not valid' }
  const counts = { touches: 0, writes: 0, requests: 0, failures: 0 }
  const controller = { picture: () => picture, counts } as unknown as Controller
  const value = async (problem: string | undefined) =>
    /^registry_trust_fleet_config_valid (\d)$/m.exec(
      await createFleetMetrics(
        '1',
        () => controller,
        () => problem,
      ).text(),
    )?.[1]
  t.same([await value(picture.configProblem), await value(undefined)], ['0', '1'])
  const report = fleetReport(picture, DEFAULT_FLEET.rollout, { offset: 0, limit: 1 })
  t.equal(report.configProblem, picture.configProblem)
  t.match(fleetVerdict(report), {
    tone: 'warn',
    sentence: /trusts every declared registry\. But trust\.yaml is not valid/,
  })
})

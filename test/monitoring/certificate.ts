// A certificate made on the spot.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { Test } from 'tap'

export function certificateOf(t: Test): string {
  const file = `${t.testdirName}.pem`
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', '/dev/null']
  execFileSync('openssl', ['req', '-x509', ...key, '-subj', '/CN=Corp Root', '-days', '30', '-out', file], {
    stdio: 'ignore',
  })
  return readFileSync(file, 'utf8')
}

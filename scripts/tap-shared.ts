// Runs the test files of REGISTRY_TRUST_TEST_FILES (one a line) in this process, one after the other: see `together`.
import { join } from 'node:path'
import t from 'tap'

const files = (process.env['REGISTRY_TRUST_TEST_FILES'] ?? '').split('\n')
let tests = 0
const { test } = t
t.test = ((...args: Parameters<typeof test>) => {
  tests += 1
  return test.apply(t, args)
}) as typeof test
for (const file of files) {
  tests = 0
  await import(join(import.meta.dirname, '..', file))
  // In a process of its own it would have failed for that too.
  if (tests === 0) t.fail(`${file} tested nothing`)
}

// Findings of `lint` as SARIF 2.1.0 (OASIS), which code scanning services read. Pure.
import { posix } from 'node:path'
import type { InsecureFlag } from './flag.ts'

export function sarif(findings: readonly ({ readonly file: string } & InsecureFlag)[], version: string): object {
  const rules = [...new Map(findings.map(({ rule, remedy }) => [rule, remedy]))]
  return {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'registry-trust lint',
            version,
            rules: rules.map(([id, remedy]) => ({
              id,
              shortDescription: { text: `${id} switches the verification of certificates off` },
              help: { text: `Write instead: ${remedy}` },
            })),
          },
        },
        results: findings.map(({ file, line, column, rule, found, remedy }) => ({
          ruleId: rule,
          ruleIndex: rules.findIndex(([id]) => id === rule),
          level: 'error',
          message: { text: `${found} switches the verification of certificates off. Write instead: ${remedy}` },
          locations: [
            {
              physicalLocation: {
                artifactLocation: { uri: encodeURI(posix.normalize(file)) },
                region: { startLine: line, startColumn: column },
              },
            },
          ],
        })),
      },
    ],
  }
}

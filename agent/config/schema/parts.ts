// Pieces of the schema of trust.yaml that stand in it more than once.
import { DURATION_PATTERN } from './duration.ts'

export const duration = (description: string, preset?: string) => ({
  description,
  type: 'string',
  pattern: DURATION_PATTERN,
  'x-expected': 'a duration such as 30s, 10m or 1h30m',
  ...(preset === undefined ? {} : { default: preset }),
})

export const fileName = (description: string) => ({ description, type: 'string', minLength: 1, maxLength: 1000 })

export const objectName = (description: string) => ({
  description,
  type: 'string',
  pattern: '^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$',
  'x-expected': 'a name of lower-case letters, digits, "-" and "."',
})

export const bool = (description: string, preset: boolean) => ({ description, type: 'boolean', default: preset })

export const enabled = (description: string) => ({ description, enum: ['auto', true, false], default: 'auto' })

export const anchorName = {
  type: 'string',
  pattern: '^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$',
  'x-expected':
    'a name of letters, digits, ".", "_" and "-" (at most 100, not beginning with "." or "-"); it becomes a file name',
}

export const anchorNames = (description: string) => ({
  description,
  type: 'array',
  items: anchorName,
  uniqueItems: true,
  maxItems: 50,
})

export const fingerprint = {
  type: 'string',
  pattern: '^sha256:(?:[0-9a-fA-F]{64}|[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){31})$',
  'x-expected': 'sha256: and the 64 hexadecimal digits of the SHA-256 fingerprint',
}

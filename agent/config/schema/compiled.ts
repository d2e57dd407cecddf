// The schema of trust.yaml as a function. The only importer of `ajv`. In the bundle this file is replaced by the code
// that ajv generates from the schema (scripts/build.ts): generating it at run time takes longer than everything else
// that reads a configuration.
import { Ajv, type ValidateFunction } from 'ajv'
import { TRUST_SCHEMA } from './schema.ts'

export const TRUST_SCHEMA_ID = 'trust.yaml'

/** One error per hostile item would cost memory; the token limit of yaml-tree.ts bounds it. */
export function createAjv(code: { readonly source?: boolean; readonly esm?: boolean } = {}): Ajv {
  const ajv = new Ajv({ allErrors: true, verbose: true, strict: true, allowUnionTypes: true, code: { ...code } })
  ajv.addVocabulary(['x-expected'])
  ajv.addSchema(TRUST_SCHEMA, TRUST_SCHEMA_ID)
  return ajv
}

export const isTrustConfig: ValidateFunction = compile()

function compile(): ValidateFunction {
  const validate = createAjv().getSchema(TRUST_SCHEMA_ID)
  if (validate === undefined) throw new Error('ajv has no schema of trust.yaml')
  return validate
}

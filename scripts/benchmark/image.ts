// What a node downloads: the compressed layers of the image that scripts/image builds.
import { imageArchive, imageUnavailable } from '../../test/fixtures/deploy/image.ts'
import { readImage } from '../../test/fixtures/deploy/oci-archive.ts'
import { type Row, series } from './table.ts'

/** @throws Error where no image can be built, or the build fails. */
export async function measureImage(): Promise<readonly Row[]> {
  const unavailable = imageUnavailable()
  if (unavailable !== undefined) throw new Error(unavailable)
  const { compressedBytes } = readImage(await imageArchive())
  return [series({ id: 'image', what: 'image, compressed', values: [compressedBytes / 1e6], unit: 'MB' })]
}

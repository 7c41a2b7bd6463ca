package wire

import (
	"fmt"

	"github.com/lazymig/lazymig"
)

// RecipeKind says what a Recipe knows of a run of pages.
type RecipeKind uint8

// The kinds of runs in a Recipe.
const (
	// RecipeZero are pages of zeros.
	RecipeZero RecipeKind = 0
	// RecipeDigest are pages that the destination is likely to have: each has a
	// digest.
	RecipeDigest RecipeKind = 1
	// RecipeData are pages that have to be asked for.
	RecipeData RecipeKind = 2
)

// RecipePart is a run of pages of one kind.
type RecipePart struct {
	Kind  RecipeKind
	Count uint16
}

// Recipe says what consecutive pages of the frozen guest are made of, source to
// destination. It is a view: the digests are good as long as the payload is.
type Recipe struct {
	// Last is set on the last Recipe of a link.
	Last bool
	// First is the number of the first page.
	First lazymig.PageNumber
	// Parts are at most MaxRecipeParts runs, one behind the other; only the
	// last frame may have none.
	Parts []RecipePart
	// Digests are 32 bytes for each page of RecipeDigest, at most
	// MaxRecipeDigests of them.
	Digests []byte
}

// Pages returns the number of pages of all parts.
func (f *Recipe) Pages() uint64 {
	var n uint64
	for _, p := range f.Parts {
		n += uint64(p.Count)
	}
	return n
}

// Length returns the bytes that Append adds.
func (f Recipe) Length() int {
	return headerSize + recipeFixed + recipePartSize*len(f.Parts) + len(f.Digests)
}

// Append appends the frame with its header to b.
func (f Recipe) Append(b []byte) []byte {
	b = appendHeader(b, TypeRecipe, f.Length()-headerSize)
	b = append(appendFlag(b, f.Last), 0)
	b = appendU16(b, uint16(len(f.Parts)))
	b = appendU32(b, 0)
	b = appendU64(b, uint64(f.First))
	for _, p := range f.Parts {
		b = appendU16(append(b, byte(p.Kind), 0), p.Count)
	}
	return append(b, f.Digests...)
}

// ParseRecipe parses a payload; errors wrap ErrMalformed.
func ParseRecipe(payload []byte) (Recipe, error) { return ParseRecipeInto(nil, payload) }

// ParseRecipeInto is ParseRecipe for loops: the parts are put into the memory
// of parts, and nothing is allocated if its capacity suffices.
func ParseRecipeInto(parts []RecipePart, payload []byte) (Recipe, error) {
	d := decoder{rest: payload}
	f := Recipe{Last: d.flag(), Parts: parts[:0]}
	d.zero(1)
	n := int(d.u16())
	d.zero(4)
	f.First = lazymig.PageNumber(d.u64())
	if d.fault == "" && (n > MaxRecipeParts || n == 0 && !f.Last) {
		d.fail("it has %d parts", n)
	}
	digests := 0
	for range n {
		p := RecipePart{Kind: RecipeKind(d.u8())}
		d.zero(1)
		p.Count = d.u16()
		if d.fault == "" && (p.Kind > RecipeData || p.Count == 0) {
			d.fail("part of %d pages of kind %d is unknown", p.Count, p.Kind)
		}
		if d.fault != "" {
			break
		}
		if p.Kind == RecipeDigest {
			digests += int(p.Count)
		}
		f.Parts = append(f.Parts, p)
	}
	if d.fault == "" && digests > MaxRecipeDigests {
		d.fail("it has %d digests", digests)
	}
	if d.fault == "" && (f.First >= maxPageNumber || f.Pages() > uint64(maxPageNumber-f.First)) {
		d.fail("no guest has page %d", f.First)
	}
	f.Digests = d.take(digests * digestSize)
	if err := d.finish(TypeRecipe); err != nil {
		return Recipe{}, err
	}
	return f, nil
}

// String returns the kind as errors name it.
func (k RecipeKind) String() string {
	switch k {
	case RecipeZero:
		return "zero"
	case RecipeDigest:
		return "digest"
	case RecipeData:
		return "data"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

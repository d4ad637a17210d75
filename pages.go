package cwsandbox

import (
	"fmt"
	"iter"
)

// eachPage asks for the pages of a list, one after the other. Page returns the token of the next one; an empty one ends it.
func eachPage(op call, page func(token string) (next string, err error)) error {
	tokens := make(map[string]bool)
	for token := ""; ; {
		next, err := page(token)
		switch {
		case err != nil:
			return op.wrap(err)
		case next == "":
			return nil
		case tokens[next]:
			return op.refuse(fmt.Sprintf("the service repeated the page token %q", next))
		}
		token, tokens[next] = next, true
	}
}

// paged yields what the pages of a list hold, one after the other. The error comes last, beside a zero value.
func paged[T any](op call, page func(token string) (items []T, next string, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		err := eachPage(op, func(token string) (string, error) {
			items, next, err := page(token)
			if err != nil {
				return "", err
			}
			for _, item := range items {
				if !yield(item, nil) {
					return "", nil
				}
			}
			return next, nil
		})
		if err != nil {
			var zero T
			yield(zero, err)
		}
	}
}

// readAll reads the records of a page.
func readAll[M, T any](records []M, read func(M) T) []T {
	items := make([]T, len(records))
	for i, r := range records {
		items[i] = read(r)
	}
	return items
}

package feed_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"battery.app/gate/sync/feed"
	"github.com/workos/workos-go/v4/pkg/webhooks"
	"pgregory.net/rapid"
)

var (
	secret = []byte("whsec_0123456789abcdef")
	older  = []byte("whsec_fedcba9876543210")
	noon   = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
)

func mac(secret []byte, stamp string, body []byte) string {
	h := hmac.New(sha256.New, secret)
	fmt.Fprintf(h, "%s.", stamp)
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

func signed(secret []byte, at time.Time, body []byte) string {
	t := fmt.Sprint(at.UnixMilli())
	return "t=" + t + ", v1=" + mac(secret, t, body)
}

func TestVerify(t *testing.T) {
	body := []byte(`{"id":"event_1"}`)
	ms := fmt.Sprint(noon.UnixMilli())
	good := mac(secret, ms, body)
	wrong := strings.Repeat("0", 64)
	for _, c := range []struct {
		name, header string
		want         error
	}{
		{"as WorkOS sends it", "t=" + ms + ", v1=" + good, nil},
		{"without the space", "t=" + ms + ",v1=" + good, nil},
		{"with more spaces", "  t = " + ms + " ,  v1 = " + good + " ", nil},
		{"the other way round", "v1=" + good + ",t=" + ms, nil},
		{"with a part of a later scheme", "t=" + ms + ",v0=x,v1=" + good, nil},
		{"the right one among several", "t=" + ms + ",v1=" + wrong + ",v1=" + good, nil},
		{"by the older secret", signed(older, noon, body), nil},
		{"by another secret", signed([]byte("whsec_another_secret"), noon, body), feed.ErrSignatureWrong},
		{"by an empty secret", signed(nil, noon, body), feed.ErrSignatureWrong},
		{"over another body", signed(secret, noon, []byte(`{"id":"event_2"}`)), feed.ErrSignatureWrong},
		{"over another time", "t=" + fmt.Sprint(noon.UnixMilli()+1) + ",v1=" + good, feed.ErrSignatureWrong},
		{"over the body alone", "t=" + ms + ",v1=" + mac(secret, "", body), feed.ErrSignatureWrong},
		{"180 s old", signed(secret, noon.Add(-180*time.Second), body), nil},
		{"older", signed(secret, noon.Add(-180001*time.Millisecond), body), feed.ErrSignatureExpired},
		{"180 s ahead", signed(secret, noon.Add(180*time.Second), body), nil},
		{"further ahead", signed(secret, noon.Add(180001*time.Millisecond), body), feed.ErrSignatureExpired},
		{"seconds instead of milliseconds", "t=" + fmt.Sprint(noon.Unix()) + ",v1=" + mac(secret, fmt.Sprint(noon.Unix()), body), feed.ErrSignatureExpired},
		{"none", "", feed.ErrNoSignature},
		{"blanks", "   ", feed.ErrNoSignature},
		{"a comma", ",", feed.ErrSignatureMalformed},
		{"cut short", "t,v1=x", feed.ErrSignatureMalformed},
		{"a v without a name", "t=1,v", feed.ErrSignatureMalformed},
		{"an empty v1", "t=1,v1=", feed.ErrSignatureMalformed},
		{"no v1", "t=" + ms, feed.ErrSignatureMalformed},
		{"no t", "v1=" + good, feed.ErrSignatureMalformed},
		{"two t", "t=" + ms + ",t=" + ms + ",v1=" + good, feed.ErrSignatureMalformed},
		{"other names", "X=" + ms + ",Y1=" + good, feed.ErrSignatureMalformed},
		{"upper-case names", "T=" + ms + ",V1=" + good, feed.ErrSignatureMalformed},
		{"upper-case hex", "t=" + ms + ",v1=" + strings.ToUpper(good), feed.ErrSignatureMalformed},
		{"half a digest", "t=" + ms + ",v1=" + good[:32], feed.ErrSignatureMalformed},
		{"a signed time", "t=+" + ms + ",v1=" + mac(secret, "+"+ms, body), feed.ErrSignatureMalformed},
		{"a time that overflows", "t=99999999999999999999,v1=" + good, feed.ErrSignatureMalformed},
		{"too many v1", "t=" + ms + strings.Repeat(",v1="+wrong, 9), feed.ErrSignatureMalformed},
		{"too long", "t=" + ms + ",v1=" + good + strings.Repeat(",a=b", 2000), feed.ErrSignatureMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := feed.Verify([][]byte{secret, older}, c.header, body, noon, feed.Tolerance)
			if !errors.Is(err, c.want) || (c.want == nil && err != nil) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
	if err := feed.Verify(nil, signed(nil, noon, body), body, noon, feed.Tolerance); !errors.Is(err, feed.ErrSignatureWrong) {
		t.Errorf("without secrets: %v", err)
	}
}

// On what WorkOS sends, the SDK's verifier and ours agree; ours is stricter only
// about times ahead.
func TestVerifyAgreesWithTheSDK(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		body := []byte(rapid.String().Draw(rt, "body"))
		key := rapid.StringN(16, 40, -1).Draw(rt, "secret")
		by := key
		if rapid.Bool().Draw(rt, "forged") {
			by += "x"
		}
		off := time.Duration(rapid.IntRange(-400, 0).Draw(rt, "off")) * time.Second
		if off == -180*time.Second {
			return // the SDK's bound is exclusive
		}
		header := signed([]byte(by), noon.Add(off), body)
		sdk := webhooks.NewClient(key)
		sdk.SetNow(func() time.Time { return noon })
		_, theirs := sdk.ValidatePayload(header, string(body))
		ours := feed.Verify([][]byte{[]byte(key)}, header, body, noon, feed.Tolerance)
		if (theirs == nil) != (ours == nil) {
			rt.Fatalf("ours: %v, the SDK's: %v", ours, theirs)
		}
	})
}

func FuzzVerify(f *testing.F) {
	body := []byte(`{"id":"event_1"}`)
	f.Add(signed(secret, noon, body), body, 0, byte(0))
	f.Add(",", body, 0, byte(1))
	f.Add("t,v1=x", []byte{}, 1, byte(2))
	stamps := regexp.MustCompile(`t\s*=\s*([0-9]+)`)
	f.Fuzz(func(t *testing.T, header string, body []byte, at int, flip byte) {
		// Whatever the header, it passes only with the signer's own digest in it.
		if feed.Verify([][]byte{secret}, header, body, noon, feed.Tolerance) == nil {
			own := false
			for _, m := range stamps.FindAllStringSubmatch(header, -1) {
				own = own || strings.Contains(header, mac(secret, m[1], body))
			}
			if !own {
				t.Fatalf("accepted %q", header)
			}
		}
		// The signer's header passes, and with any byte of its digits or of the
		// body changed it does not.
		good := signed(secret, noon, body)
		if err := feed.Verify([][]byte{secret}, good, body, noon, feed.Tolerance); err != nil {
			t.Fatalf("refused the signer: %v", err)
		}
		if flip == 0 || at < 0 {
			return
		}
		if len(body) > 0 {
			changed := bytes.Clone(body)
			changed[at%len(body)] ^= flip
			if feed.Verify([][]byte{secret}, good, changed, noon, feed.Tolerance) == nil {
				t.Fatal("accepted another body")
			}
		}
		digits := []byte(good)
		i := len(digits) - 64 + at%64
		digits[i] ^= flip
		if feed.Verify([][]byte{secret}, string(digits), body, noon, feed.Tolerance) == nil {
			t.Fatalf("accepted %q", digits)
		}
	})
}
